/**
 * Resolves and reads images. `GET container/<collection>/<image>:<tag>` answers
 *
 *     { "id": 5, "name": "hello", "tag": "1.0", "collection": "lab", "version": "sha256.<hex>", "frozen": false,
 *       "image": "https://containers.example.org/containers/5/download/<secret>", "metadata": {...}, "metrics": {...} }
 *
 * The link sends the whole file and knows no ranges; each request for it counts as a download, of which a week has 100. The server
 * states the size nowhere else. So the first lookup of an image starts its download, which the first read goes on with; a size is
 * remembered. Images that were pushed through the server's library API are in an object storage instead, and are read in ranges
 * without being counted.
 *
 * A pushed image gets a new id, so the id is the revision. The version changes from md5 to sha256 some time after a push.
 */
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { LRUCache } from 'lru-cache';
import { isError, SregistryError } from '../../base/errors.ts';
import type { ImageName } from '../../image/name.ts';
import { formatImageName } from '../../image/names.ts';
import { registerSecret } from '../../log/index.ts';
import { isJsonObject } from '../../settings/json.ts';
import { getPaths } from '../../settings/paths.ts';
import type { RemoteImage } from '../backend.ts';
import type { Headers } from '../http.ts';
import { createLinks, type Links, parseLink } from '../kit/manifest-link.ts';
import { goneIsStale, unreadableHandle } from '../kit/stale.ts';
import { type Api, sendSigned } from './api.ts';
import { pathOf, type Subject, subjectOf } from './names.ts';
import { type Identity, Sizes } from './sizes.ts';

export interface Manifest extends Identity {
  /** `sha256.<hex>`, or the md5 of an image that was pushed moments ago. */
  readonly version: string;
  /** Where the file is; holds a secret. */
  readonly url: URL;
}

/** What the modules of a backend share. */
export interface Server {
  readonly api: Api;
  readonly sizes: Sizes;
  readonly links: Links;
  /** Ids of images, and whether the library API has them. */
  readonly inLibrary: LRUCache<string, boolean>;
  /** Where the files of images are, by id; the addresses hold secrets, so handles do not. */
  readonly urls: LRUCache<string, URL>;
}

/** Milliseconds for which the address of a file is used without asking for it again. */
const URL_TTL = 10 * 60_000;

export function createServer(api: Api): Server {
  const { http, root, env } = api;
  const file = join(getPaths(env).logDir, 'registry-sizes.json');
  const links = createLinks({
    http,
    host: root.host,
    fetchLink: async (path, signal) => {
      const subject = JSON.parse(path) as Subject;
      const manifest = await fetchManifest(api, subject, signal);
      return manifest && { url: libraryUrl(api, subject), version: manifest.id };
    },
  });
  return {
    api,
    links,
    sizes: new Sizes({ http, file, server: root.href }),
    inLibrary: new LRUCache({ max: 10_000 }),
    urls: new LRUCache({ max: 10_000, ttl: URL_TTL }),
  };
}

/** The image of a name. A version is compared, as the server ignores it. */
export async function resolveImage(server: Server, name: ImageName, signal?: AbortSignal) {
  const subject = subjectOf(name);
  const manifest = subject && (await fetchManifest(server.api, subject, signal));
  if (subject === undefined || manifest === undefined) return undefined;
  const wanted = name.version?.replace(/^(sha256)?[:.]?/, '').toLowerCase();
  const isOther = wanted !== undefined && !manifest.version.replace(/^sha256\./, '').startsWith(wanted);
  return isOther ? undefined : toImage(server, name, subject, manifest, signal);
}

async function toImage(
  server: Server,
  name: ImageName,
  subject: Subject,
  manifest: Manifest,
  signal?: AbortSignal,
): Promise<RemoteImage> {
  const known = await server.sizes.find(manifest);
  const file = known === undefined ? await findInLibrary(server, subject, manifest, signal) : undefined;
  if (file !== undefined)
    return { name, ...file, revision: manifest.id, digest: manifest.digest, extension: 'sif' };
  server.urls.set(manifest.id, manifest.url);
  const size = known ?? (await server.sizes.get(manifest, manifest.url, signal).catch(limitReached));
  return sequentialImage(name, subject, manifest, size);
}

/** An image whose file is sent as a whole. The size is 0 if it is not known. */
export function sequentialImage(
  name: ImageName,
  subject: Subject,
  { id, digest }: Identity,
  size: number,
): RemoteImage {
  const handle = { id, ...subject };
  return { name, size, revision: id, digest, extension: 'sif', sequential: true, handle };
}

/** The digest in a version. */
export function digestOf(version: string): string | undefined {
  const hex = /^sha256\.([0-9a-f]{64})$/.exec(version)?.[1];
  return hex && `sha256:${hex}`;
}

function libraryUrl({ root }: Api, { collection, image, tag }: Subject): URL {
  return new URL(`v1/imagefile/${collection}/${encodeURIComponent(image)}:${encodeURIComponent(tag)}`, root);
}

/** The file in the storage of the library API; undefined if it is not there, or the server has no such API. */
async function findInLibrary(server: Server, subject: Subject, { id }: Manifest, signal?: AbortSignal) {
  const { api, links, inLibrary } = server;
  if (inLibrary.get(id) === false) return undefined;
  try {
    const link = { url: libraryUrl(api, subject), version: id };
    const file = await links.find(JSON.stringify(subject), link, signal);
    inLibrary.set(id, true);
    return file;
  } catch (error) {
    const isNotThere = isError(error, 'NOT_FOUND', 'FORBIDDEN', 'UNAUTHORIZED', 'UNSUPPORTED', 'SERVICE');
    // A server that fails may have the file all the same.
    if (!isNotThere || (error.status ?? 0) >= 500) throw error;
    inLibrary.set(id, false);
    return undefined;
  }
}

export async function readImage(
  { api, sizes, links, urls }: Server,
  image: RemoteImage,
  { offset, length, signal }: { offset: number; length: number; signal?: AbortSignal | undefined },
): Promise<Readable> {
  if (image.sequential !== true) return links.read(image, { offset, length, signal });
  if (length === 0) return Readable.from([]);
  const { id, subject } = handleOf(api.root.host, image);
  const started = offset === 0 && length === image.size ? sizes.take(id) : undefined;
  if (started !== undefined) return started;
  const range = { offset, length, total: image.size, sequential: true, signal };
  const open = (url: URL) => api.http.stream(url, range).catch(limitReached);
  const known = urls.get(id);
  try {
    if (known !== undefined) return await open(known);
  } catch (error) {
    // The secret in the address changes with the collection.
    if (!isError(error, 'NOT_FOUND')) throw error;
  }
  const what = formatImageName(image.name);
  const manifest = await fetchManifest(api, subject, signal);
  if (manifest === undefined || manifest.id !== id)
    throw new SregistryError('STALE', `${what} was replaced since it was looked up`, {
      hint: 'open it again to read the current image',
    });
  urls.set(id, manifest.url);
  return open(manifest.url).catch((error) => {
    throw goneIsStale(error, what);
  });
}

/** The handle of an image that is sent as a whole, checked because it may come from the catalog. */
function handleOf(host: string, { handle }: RemoteImage): { readonly id: string; readonly subject: Subject } {
  const { id, collection, image, tag } = handle;
  const isValid = [id, collection, image, tag].every((part) => typeof part === 'string');
  if (!isValid) throw unreadableHandle(host);
  return { id: String(id), subject: { collection, image, tag } as Subject };
}

/** A download over the limit is 403. */
function limitReached(error: unknown): never {
  throw isError(error, 'FORBIDDEN') ? limited(error.message, error) : error;
}

function limited(message: string, cause?: unknown): SregistryError {
  return new SregistryError('RATE_LIMITED', `${message}: the limit of downloads is reached`, {
    hint: 'a registry server allows 100 downloads a week of an image and of a collection. Wait, or ask its operator to raise the limit',
    cause,
  });
}

/** The manifest of an image; undefined if the server says that the image does not exist. Signs the request if the image is private. */
export async function fetchManifest(
  api: Api,
  subject: Subject,
  signal?: AbortSignal,
): Promise<Manifest | undefined> {
  const path = pathOf(subject);
  const get = (headers: Headers = {}) =>
    api.http.get(path, { headers: { accept: 'application/json', ...headers }, allow: [403, 404], signal });
  const first = await get();
  const reply = first.status === 403 ? await sendSigned(api, 'pull', subject, get) : first;
  return reply.status === 404 ? undefined : parseManifest(api, path, reply.json());
}

function parseManifest({ base }: Api, path: string, body: unknown): Manifest {
  // The limit is an answer of 200 with this number.
  if (body === 429) throw limited(`${base.host}/${path}`);
  if (!isJsonObject(body) || !(typeof body.id === 'number' || typeof body.id === 'string'))
    throw new SregistryError('SERVICE', `${base.host}: the manifest of ${path} is malformed`, {
      hint: 'check that the address is that of a Singularity Registry Server',
    });
  const url = parseLink(body.image, base, path);
  registerSecret(url.pathname.split('/').filter(Boolean).at(-1) ?? '');
  const version = typeof body.version === 'string' ? body.version : '';
  return { id: String(body.id), version, digest: digestOf(version), url };
}
