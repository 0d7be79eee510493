/** Images: a name's manifest, then the file it points to in storage, of which the manifest tells no size in bytes. */
import { basename } from 'node:path';
import type { Readable } from 'node:stream';
import { isError, SregistryError } from '../../base/errors.ts';
import type { ImageName } from '../../image/name.ts';
import { splitExtension } from '../../image/names.ts';
import type { RemoteImage } from '../backend.ts';
import { type Api, ask } from './api.ts';
import { fetchManifest, type Manifest, pathOf } from './manifest.ts';

/** What an image's handle holds. */
interface Handle extends Record<string, unknown> {
  /** Its path in the API, for a new address when `url` has died. */
  readonly path: string;
  /** The version of its manifest. */
  readonly version: string;
  /** Address of the file, from the manifest. */
  readonly url: string;
  /** Entity tag of the file, if it is a strong one. */
  readonly etag?: string;
}

/** What storage says of a file. */
interface File {
  readonly size: number;
  readonly etag: string | undefined;
  readonly modified: string | undefined;
}

export async function resolveImage(
  api: Api,
  name: ImageName,
  signal?: AbortSignal,
): Promise<RemoteImage | undefined> {
  const path = pathOf(name);
  const manifest = path === undefined ? undefined : await fetchManifest(api, path, signal);
  if (path === undefined || manifest === undefined || isOther(manifest, name)) return undefined;
  const file = await ask(lookAt(api, manifest.url, signal));
  return toRemoteImage(name, path, manifest, file);
}

/** An archive may answer for a version with the one that it has. */
function isOther({ versions }: Manifest, { version }: ImageName): boolean {
  if (version === undefined || versions.length === 0) return false;
  return !versions.some((known) => known.toLowerCase().startsWith(version.toLowerCase()));
}

function toRemoteImage(name: ImageName, path: string, manifest: Manifest, file: File): RemoteImage {
  const { url, version, annotations } = manifest;
  const modified = new Date(file.modified ?? Number.NaN);
  // A weak tag never matches an If-Match (RFC 9110 section 13.1.1).
  const etag = file.etag?.startsWith('W/') ? undefined : file.etag;
  const handle: Handle = { path, version, url: url.href, ...(etag === undefined ? {} : { etag }) };
  return {
    name,
    size: file.size,
    modified: Number.isNaN(modified.getTime()) ? undefined : modified,
    revision: revisionOf(version, file),
    annotations,
    extension: splitExtension(basename(url.pathname)).extension,
    handle,
  };
}

/** `<version>+<entity tag>`, with the date of the file where it has no tag. */
function revisionOf(version: string, { etag, modified, size }: File): string {
  const mark = etag?.replace(/^W\/|"/g, '') ?? modified ?? String(size);
  return [version, mark].filter(Boolean).join('+');
}

/** Statuses with which storage refuses a HEAD where it would allow a GET: an address may be signed for one method. */
const NO_HEAD = [400, 401, 403, 405, 501];

async function lookAt(api: Api, url: URL, signal?: AbortSignal): Promise<File> {
  const headers = { 'accept-encoding': 'identity' };
  const head = await api.http.head(url, { headers, allow: [404, ...NO_HEAD], signal });
  const reply = NO_HEAD.includes(head.status)
    ? await api.http.get(url, { headers: { ...headers, range: 'bytes=0-0' }, allow: [404], signal })
    : head;
  const where = `${reply.url.host}${reply.url.pathname}`;
  if (reply.status === 404)
    throw new SregistryError('SERVICE', `${api.base.host} has the image, but its file is gone: ${where}`);
  const length =
    reply.status === 206
      ? reply.headers['content-range']?.replace(/^.*\//, '')
      : reply.headers['content-length'];
  if (length === undefined || !/^\d{1,15}$/.test(length))
    throw new SregistryError('SERVICE', `${where}: storage does not say how long the file is`);
  return { size: Number(length), etag: reply.headers.etag, modified: reply.headers['last-modified'] };
}

/** A range of the image's file. Where its address has died, the manifest is asked for a new one. */
export async function readImage(
  api: Api,
  image: RemoteImage,
  { offset, length, signal }: { offset: number; length: number; signal?: AbortSignal | undefined },
): Promise<Readable> {
  const { path, version, url, etag } = handleOf(image);
  const key = `${path} ${version}`;
  const known = api.links.get(key) ?? url;
  const open = (address: string) =>
    ask(
      api.http.stream(address, {
        offset,
        length,
        total: image.size,
        ifMatch: etag,
        signal,
        redirects: api.redirects,
      }),
    );
  try {
    return await open(known);
  } catch (error) {
    if (!isRefusal(error)) throw error;
    const renewed = await renew(api, path, version, signal);
    if (renewed === known) throw goneIsStale(error, path);
    api.links.set(key, renewed);
    return open(renewed);
  }
}

/** Could it be that the address is no longer valid? Storage says so with any of these. */
function isRefusal(error: unknown): error is SregistryError {
  return isError(error, 'NOT_FOUND', 'FORBIDDEN', 'UNAUTHORIZED') || (isError(error) && error.status === 400);
}

async function renew(api: Api, path: string, version: string, signal?: AbortSignal): Promise<string> {
  const manifest = await fetchManifest(api, path, signal);
  if (manifest === undefined || manifest.version !== version)
    throw new SregistryError('STALE', `${path} is no longer the version ${version} that it was`, {
      hint: 'open it again for the new one',
    });
  return manifest.url.href;
}

function goneIsStale(error: SregistryError, path: string): SregistryError {
  if (error.code !== 'NOT_FOUND') return error;
  return new SregistryError('STALE', `${path}: its file is gone from storage`, { cause: error });
}

/** The handle of an image, which may come out of the catalog. */
function handleOf({ handle }: RemoteImage): Handle {
  const { path, version, url, etag } = handle;
  const isValid =
    [path, version, url].every((part) => typeof part === 'string') &&
    URL.canParse(String(url)) &&
    ['string', 'undefined'].includes(typeof etag);
  if (!isValid) throw new SregistryError('INTERNAL', 'the handle of a hub image is damaged');
  return handle as Handle;
}
