/** Images: a name's manifest, then the file it points to in storage, of which the manifest tells no size in bytes. */
import { basename } from 'node:path';
import type { Readable } from 'node:stream';
import { isError, SregistryError } from '../../base/errors.ts';
import type { ImageName } from '../../image/name.ts';
import { splitExtension } from '../../image/names.ts';
import type { RemoteImage } from '../backend.ts';
import { showUrl } from '../http.ts';
import { type FileLocation, findFile, type HttpFile, probeFile, readFile } from '../http-file.ts';
import { type Api, ask } from './api.ts';
import { fetchManifest, type Manifest, pathOf } from './manifest.ts';

/** What an image's handle holds. Its `url` is the address of the file, from the manifest. */
interface Handle extends FileLocation {
  /** Its path in the API, for a new address when `url` has died. */
  readonly path: string;
  /** The version of its manifest. */
  readonly version: string;
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

function toRemoteImage(name: ImageName, path: string, manifest: Manifest, file: HttpFile): RemoteImage {
  const { version, annotations } = manifest;
  const handle: Handle = { ...file.location, path, version };
  return {
    name,
    size: file.size,
    modified: file.modified,
    revision: [version, file.revision].filter(Boolean).join(' '),
    annotations,
    extension: splitExtension(basename(manifest.url.pathname)).extension,
    handle,
  };
}

async function lookAt(api: Api, url: URL, signal?: AbortSignal): Promise<HttpFile> {
  const file = await findFile(api.http, url, { signal }).catch((error: unknown) => {
    // An address may be signed for one method.
    if (!isRefusal(error) && !isError(error, 'UNSUPPORTED')) throw error;
    return probeFile(api.http, url, { signal });
  });
  if (file !== undefined) return file;
  const where = showUrl(url);
  throw new SregistryError('SERVICE', `${api.base.host} has the image, but its file is gone: ${where}`);
}

/** A range of the image's file. Where its address has died, the manifest is asked for a new one. */
export async function readImage(
  api: Api,
  image: RemoteImage,
  { offset, length, signal }: { offset: number; length: number; signal?: AbortSignal | undefined },
): Promise<Readable> {
  const { path, version, ...location } = handleOf(image);
  const key = `${path} ${version}`;
  const known = api.links.get(key) ?? location.url;
  const { redirects } = api;
  const open = (url: string) =>
    ask(readFile(api.http, { ...location, url }, { offset, length, size: image.size, redirects, signal }));
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
  const { path, version, url } = handle;
  const isValid = [path, version, url].every((part) => typeof part === 'string') && URL.canParse(String(url));
  if (!isValid) throw new SregistryError('INTERNAL', 'the handle of a hub image is damaged');
  return handle as Handle;
}
