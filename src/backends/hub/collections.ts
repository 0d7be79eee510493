/**
 * Lists all images of the service. There is one list for everything: `GET <base>/collections/` returns pages of collections with
 * their containers, `{ "next": URL, "results": [{ "id": 1, "name": ..., "containers": [{ "name": "vsoch/hello-world", "tag":
 * "latest" }] }] }`, or only the array of results. An archive does not change, so the list is cached for minutes.
 */
import { SregistryError } from '../../base/errors.ts';
import type { ImageName } from '../../image/name.ts';
import { formatImageName, isPathComponent } from '../../image/names.ts';
import { followPages, type PageAnswer } from '../kit/pages.ts';
import { Renewable } from '../kit/renewable.ts';
import { type Api, getJson } from './api.ts';

export interface Collections {
  /** The names of all images, each once. Throws UNSUPPORTED if the service does not list. */
  images(signal?: AbortSignal): Promise<readonly ImageName[]>;
}

/** Milliseconds for which the list is cached. */
export const LIST_TTL = 5 * 60_000;
/** Test collections, which the Python client skips too. */
const SKIPPED = new Set<unknown>([37, 38, 39]);

/** `ttl`: milliseconds for which the list is cached; 0 turns the cache off. */
export function createCollections(api: Api, ttl = LIST_TTL): Collections {
  const lists = new Renewable<readonly ImageName[]>({ max: 1, lifetime: ttl });
  const read = async (signal: AbortSignal) => {
    const names = new Map<string, ImageName>();
    for await (const name of everyName(api, signal)) names.set(formatImageName(name), name);
    return [...names.values()];
  };
  return { images: (signal) => lists.get('all', read, signal) };
}

async function* everyName(api: Api, signal?: AbortSignal): AsyncGenerator<ImageName> {
  const what = `${api.base.host}: the list of collections`;
  const first = new URL('collections/', api.base).href;
  const pages = followPages<readonly unknown[], string>(what, (at = first) =>
    fetchPage(api, new URL(at), signal),
  );
  for await (const page of pages) for (const collection of page) yield* namesOf(collection);
}

async function fetchPage(
  api: Api,
  url: URL,
  signal?: AbortSignal,
): Promise<PageAnswer<readonly unknown[], string>> {
  const { status, value } = await getJson(api, url, [401, 403, 404, 405, 501], signal);
  if (status >= 300)
    throw new SregistryError('UNSUPPORTED', `${api.base.host} does not list its images (${status})`, {
      hint: 'open an image by its full name, which needs no listing',
    });
  if (Array.isArray(value)) return { page: value, next: undefined };
  const { results, next } = (value ?? {}) as Record<string, unknown>;
  if (!Array.isArray(results))
    throw new SregistryError('SERVICE', `${api.base.host}: the service sent a malformed list of collections`);
  return {
    page: results,
    next: typeof next === 'string' && next !== '' ? nextPage(api, next, url).href : undefined,
  };
}

/** The URL of the next page. A server behind a TLS proxy may write it with `http:`. */
function nextPage(api: Api, text: string, page: URL): URL {
  const next = URL.parse(text, page.href);
  if (next !== null && next.hostname === api.base.hostname) next.protocol = api.base.protocol;
  if (next === null || next.origin !== api.base.origin)
    throw new SregistryError(
      'SERVICE',
      `${api.base.host}: the list of collections continues on another server`,
    );
  return next;
}

function* namesOf(collection: unknown): Generator<ImageName> {
  const { id, name, containers } = (collection ?? {}) as Record<string, unknown>;
  if (SKIPPED.has(id) || !Array.isArray(containers)) return;
  for (const container of containers) {
    const parsed = parseContainer(container, name);
    if (parsed !== undefined) yield parsed;
  }
}

/** The name of a container's image; undefined if it is invalid. */
function parseContainer(container: unknown, collectionName: unknown): ImageName | undefined {
  const { name, tag } = (container ?? {}) as Record<string, unknown>;
  if (typeof name !== 'string') return undefined;
  const isFull = name.includes('/') || typeof collectionName !== 'string';
  const components = (isFull ? name : `${collectionName}/${name}`).split('/');
  const image = components.pop() as string;
  const wanted = typeof tag === 'string' && tag !== '' ? tag : 'latest';
  const parts = [...components, image, wanted];
  if (!parts.every((part) => isPathComponent(part) && !/[:@]/.test(part))) return undefined;
  return { collection: components.join('/'), image, tag: wanted };
}
