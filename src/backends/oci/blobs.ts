/** Blobs of a repository: finds one, reads a range of one, opens an upload, pushes a small one. */
import type { Readable } from 'node:stream';
import { describeError, isError, SregistryError } from '../../base/errors.ts';
import { debugLog } from '../../log/index.ts';
import type { Blob } from '../backend.ts';
import type { BufferedResponse } from '../http.ts';
import { goneIsStale } from '../kit/stale.ts';
import type { Range } from '../kit/store.ts';
import { digestOf } from './fetch-manifest.ts';
import { pathOf, type Registry, type Repository, referenceOf } from './registries.ts';

const debug = debugLog('oci');

/** An open upload session; plain JSON. */
export interface Upload {
  /** Address of the next chunk; every reply gives a new one. */
  readonly location: string;
  /** Smallest chunk in bytes that the registry accepts, except the last one; 0 if it does not say. */
  readonly minChunk: number;
}

/** Whether the repository holds the blob. Throws CORRUPT if it does with another size. */
export async function hasBlob(repository: Repository, { digest, size }: Blob): Promise<boolean> {
  const { http, host, signal } = repository;
  const path = pathOf(repository, `blobs/${digest}`);
  const reply = await http.head(path, { allow: [404], signal });
  if (reply.status === 404) return false;
  const stored = reply.headers['content-length'];
  if (stored !== undefined && Number(stored) !== size)
    throw new SregistryError('CORRUPT', `${host}${path}: stored with ${stored} bytes instead of ${size}`);
  return true;
}

/** Reads a range of a blob, from where the registry redirects if it does. Throws STALE if the blob was deleted. */
export async function readBlob(
  repository: Repository,
  digest: string,
  { size: total, ...range }: Range,
): Promise<Readable> {
  const { http, redirects, signal } = repository;
  const options = { ...range, total, signal, redirects };
  return http.stream(pathOf(repository, `blobs/${digest}`), options).catch((error: unknown) => {
    throw goneIsStale(error, referenceOf(repository));
  });
}

/**
 * Opens an upload of a blob, whose digest may not be known yet. Undefined if the registry mounted the blob from a repository known to hold it: then it needs no
 * upload.
 */
export async function startUpload(
  repository: Repository,
  digest: string | undefined,
): Promise<Upload | undefined> {
  const { holders, http, signal, createRepository } = repository;
  const holder = digest === undefined ? undefined : holders.get(digest);
  const path = pathOf(repository, 'blobs/uploads/');
  const start = (query?: { mount: string; from: string }) =>
    http.post(path, { query, signal }).catch(async (error: unknown) => {
      if (createRepository === undefined || !isError(error, 'NOT_FOUND')) throw error;
      await createRepository(repository.path, signal);
      return http.post(path, { query, signal });
    });
  if (digest !== undefined && holder !== undefined && holder !== repository.path) {
    try {
      const reply = await start({ mount: digest, from: holder });
      debug('%s: mount from %s: %d', digest, holder, reply.status);
      return reply.status === 201 ? undefined : toUpload(repository, reply);
    } catch (error) {
      // The login may not read there, or the registry cannot mount: send the bytes instead.
      if (!isError(error, 'UNAUTHORIZED', 'FORBIDDEN', 'NOT_FOUND', 'UNSUPPORTED', 'SERVICE')) throw error;
    }
  }
  return toUpload(repository, await start());
}

/** Ends an upload whose bytes nobody needs. A registry that cannot ends it itself some time later. */
export async function abandonUpload({ http, signal }: Repository, { location }: Upload): Promise<void> {
  await http.delete(location, { allow: [404], signal }).catch((error: unknown) => {
    if (isError(error, 'CANCELED')) throw error;
    debug('the upload was not canceled: %s', describeError(error));
  });
}

function toUpload(registry: Registry, reply: BufferedResponse): Upload {
  const minChunk = Number(reply.headers['oci-chunk-min-length'] ?? 0);
  const location = nextLocation(registry, reply);
  return { location, minChunk: Number.isSafeInteger(minChunk) ? minChunk : 0 };
}

/** The address of the next request of an upload, from the reply to the last one. */
export function nextLocation(registry: Registry, reply: BufferedResponse): string {
  const location = URL.parse(reply.headers.location ?? '', reply.url.href);
  if (location === null)
    throw new SregistryError('SERVICE', `${registry.host}: the reply to an upload has no usable Location`);
  if (location.protocol === reply.url.protocol) return location.href;
  // A registry behind a proxy that ends TLS often sends plain http addresses.
  if (location.hostname === reply.url.hostname) return location.href.replace(/^https?:/, reply.url.protocol);
  throw new SregistryError('SERVICE', `${registry.host}: an upload was redirected to ${location.origin}`);
}

/** The address that closes an upload. Appends the query as text: parsing and printing it may change signed parts. */
export function closingLocation(location: string, digest: string): string {
  return `${location}${location.includes('?') ? '&' : '?'}digest=${encodeURIComponent(digest)}`;
}

/** Pushes a blob with one request, unless the repository holds it. */
export async function pushSmallBlob(repository: Repository, bytes: Buffer): Promise<void> {
  const { http, holders, signal } = repository;
  const blob = { digest: digestOf(bytes), size: bytes.length };
  if (await hasBlob(repository, blob)) return;
  const upload = await startUpload(repository, blob.digest);
  if (upload !== undefined) {
    const headers = { 'content-type': 'application/octet-stream' };
    await http.put(closingLocation(upload.location, blob.digest), { body: bytes, headers, signal });
  }
  holders.set(blob.digest, repository.path);
}
