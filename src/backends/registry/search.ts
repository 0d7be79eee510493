/**
 * Lists and searches. The server lists its public images in pages, and the images of a public collection by its name. Its own search
 * compares whole names, and also tells the names of private images. So a query that is one of the Python client's forms is asked of it,
 * and any other one is compared with all public names:
 *
 * | query | asks |
 * |---|---|
 * | `lab/` | the collection |
 * | `/hello`, `/hello:1.0` | the images of that name in all collections |
 * | `lab/hello`, `lab/hello:1.0` | those images; if there are none, as any other query |
 *
 * To learn a size takes a download, which is counted: a search does not do that. What it finds has the size 0 unless it is known.
 */
import { isError, SregistryError } from '../../base/errors.ts';
import { isPathComponent } from '../../image/names.ts';
import { isJsonObject, type JsonObject } from '../../settings/json.ts';
import type { ListEntry, RemoteImage, SearchQuery } from '../backend.ts';
import { nextAddress } from '../http/pages.ts';
import { followPages } from '../kit/pages.ts';
import { isPattern, nameMatcher } from '../name-match.ts';
import type { Api } from './api.ts';
import { digestOf, type Server, sequentialImage } from './images.ts';
import { formatCollection, type Subject, splitFolder } from './names.ts';

/** Entries asked for at once; the server's own default is 10. */
const PAGE = 100;

/** An image as a listing tells it. */
interface Found extends Subject {
  /** Absent in the listing of a collection. */
  readonly id: string | undefined;
  readonly digest: string | undefined;
}

export async function* listCollection(
  { api }: Server,
  collection: string,
  signal?: AbortSignal,
): AsyncGenerator<ListEntry> {
  const { collection: own } = splitFolder(collection);
  if (own === '') {
    for await (const { name } of everyEntry(api, 'collections/', signal))
      if (typeof name === 'string' && isPathComponent(name)) yield { kind: 'collection', name };
    return;
  }
  for (const { image, tag } of await imagesIn(api, own, signal))
    yield { kind: 'image', name: { collection, image, tag }, extension: 'sif' };
}

/** The images of a collection. Throws NOT_FOUND if the collection does not exist, FORBIDDEN if it is private. */
async function imagesIn({ base, http }: Api, collection: string, signal?: AbortSignal): Promise<Found[]> {
  const name = formatCollection(collection);
  const absent = new SregistryError('NOT_FOUND', `${base.host} has no collection ${collection}`);
  if (name === '' || collection.includes('/')) throw absent;
  const reply = await http.get(`collection/${name}`, { signal, allow: [404] }).catch((error: unknown) => {
    // The server fails for a private collection.
    if (!isError(error, 'SERVICE') || error.status !== 500) throw error;
    throw new SregistryError(
      'FORBIDDEN',
      `${base.host} does not list the collection ${collection}: it may be private`,
      {
        hint: 'open an image by its full name, for which you can be logged in',
        cause: error,
      },
    );
  });
  const body = reply.status === 404 ? {} : reply.json();
  if (!isJsonObject(body)) throw malformed(base, `collection ${collection}`);
  if (!Array.isArray(body.containers)) throw absent;
  return body.containers.flatMap((entry) => toFound(entry, name));
}

export async function* searchImages(
  server: Server,
  { query, labels }: SearchQuery,
  signal?: AbortSignal,
): AsyncGenerator<RemoteImage> {
  const matches = nameMatcher(query.replace(/^\/|\/$/g, ''));
  const entries = Object.entries(labels ?? {});
  const found =
    entries.length > 0
      ? await labelled(server.api, entries, signal)
      : await byForm(server.api, query, signal);
  const isExact = entries.length === 0 && found !== undefined;
  const all = found ?? toAll(server.api, signal);
  const seen = new Set<string>();
  for await (const one of all) {
    const { collection, image, tag } = one;
    const name = { collection, image, tag };
    const key = `${collection}/${image}:${tag}`;
    if (seen.has(key) || !(isExact || matches(name))) continue;
    seen.add(key);
    const identity = { id: one.id ?? '', digest: one.digest };
    const size = await server.sizes.find(identity);
    const annotations = entries.length > 0 ? labels : undefined;
    yield {
      ...sequentialImage(name, one, identity, size ?? 0),
      annotations,
    };
  }
}

async function* toAll(api: Api, signal?: AbortSignal): AsyncGenerator<Found> {
  for await (const entry of everyEntry(api, 'containers/', signal)) yield* toFound(entry);
}

/** What the server finds for a query of one of the Python client's forms; undefined for any other, or if it finds nothing. */
async function byForm(api: Api, query: string, signal?: AbortSignal): Promise<Found[] | undefined> {
  const [, before = '', image = '', tag] = /^([^/:]*)\/([^/:]*)(?::([^/:]+))?$/.exec(query) ?? [];
  if (isPattern(query) || before + image === '') return undefined;
  if (image === '') return imagesIn(api, before, signal);
  const collection = formatCollection(before);
  const path = [
    ...(before === '' ? [] : ['collection', collection]),
    ...['name', image.toLowerCase()],
    ...(tag === undefined ? [] : ['tag', tag.toLowerCase()]),
  ];
  const reply = await api.http.get(`container/search/${path.map(encodeURIComponent).join('/')}`, {
    signal,
    allow: [404],
  });
  const found =
    reply.status === 404 ? [] : toList(reply.json(), api, 'search').flatMap((entry) => toFound(entry));
  return before !== '' && found.length === 0 ? undefined : found;
}

/** The images that have all these labels. The server compares keys as they are; a label may have been given in another case. */
async function labelled(
  api: Api,
  labels: readonly (readonly [string, string])[],
  signal?: AbortSignal,
): Promise<Found[]> {
  const having = async ([key, value]: readonly [string, string]) => {
    const spellings = [...new Set([key, key.toLowerCase(), key.toUpperCase()])];
    const uris = new Set<string>();
    for (const spelling of spellings) {
      const path = `labels/search/${encodeURIComponent(spelling)}/key/${encodeURIComponent(value)}/value`;
      const reply = await api.http.get(path, { signal, allow: [404] });
      const list = reply.status === 404 ? [] : toList(reply.json(), api, 'search for labels');
      for (const { containers } of list)
        for (const uri of Array.isArray(containers) ? containers : []) uris.add(String(uri));
    }
    return uris;
  };
  const [first = new Set<string>(), ...others] = await Promise.all(labels.map(having));
  return [...first]
    .filter((uri) => others.every((one) => one.has(uri)))
    .flatMap((uri) => {
      const [, collection = '', image = '', tag = ''] = /^([^/]+)\/([^/:]+):([^/:@]+)$/.exec(uri) ?? [];
      return toFound({ name: image, tag }, collection);
    });
}

/** The entries of a listing in pages, `{count, next, previous, results}`. */
async function* everyEntry(api: Api, path: string, signal?: AbortSignal): AsyncGenerator<JsonObject> {
  const { base, http } = api;
  const what = `${base.host}: the list of ${path.replace('/', '')}`;
  const first = new URL(`${path}?limit=${PAGE}`, base).href;
  const ask = async (at = first) => {
    const body = (await http.get(at, { signal })).json();
    if (!isJsonObject(body)) throw malformed(base, path);
    const { next } = body;
    return {
      page: toList(body.results, api, path),
      next: typeof next === 'string' && next !== '' ? nextAddress(next, new URL(at)).href : undefined,
    };
  };
  for await (const page of followPages(what, ask, first)) yield* page;
}

function toList(value: unknown, { base }: Api, what: string): JsonObject[] {
  if (Array.isArray(value)) return value.filter(isJsonObject);
  throw malformed(base, what);
}

/** Images under a temporary tag are being pushed through the library API. */
const TEMPORARY = /^DUMMY-/i;

function toFound(entry: unknown, collection?: string): Found[] {
  if (!isJsonObject(entry)) return [];
  const { id, name, tag, version } = entry;
  const parts = [collection ?? entry.collection, name, tag];
  const isName = parts.every(
    (part) => typeof part === 'string' && isPathComponent(part) && !/[:@]/.test(part),
  );
  if (!isName || TEMPORARY.test(String(tag))) return [];
  const [folder, image, label] = parts as [string, string, string];
  const known = typeof id === 'number' || typeof id === 'string' ? String(id) : undefined;
  const digest = typeof version === 'string' ? digestOf(version) : undefined;
  return [{ collection: folder, image, tag: label, id: known, digest }];
}

function malformed(base: URL, what: string): SregistryError {
  return new SregistryError('SERVICE', `${base.host}: the answer for ${what} is malformed`);
}
