/** Blobs of a repository: is one there, reading a range of one, opening an upload, pushing a small one. */
import type { Readable } from 'node:stream';
import { isError, SregistryError } from '../../base/errors.ts';
import { debugLog } from '../../log/index.ts';
import type { BufferedResponse } from '../http.ts';
import { goneIsStale } from '../kit/stale.ts';
import type { Range } from '../kit/store.ts';
import { digestOf } from './images.ts';
import { pathOf, type Registry, type Repository, referenceOf } from './registries.ts';

const debug = debugLog('oci');

export interface Blob {
  readonly digest: string;
  /** Bytes, as its manifest states them. */
  readonly size: number;
}

/** An open upload session; plain JSON. */
export interface Upload {
  /** Where the next chunk goes; every answer gives a new address. */
  readonly location: string;
  /** Smallest chunk that the registry takes, the last one excepted; 0 where it does not say. */
  readonly minChunk: number;
}

/** Does the repository hold the blob? One of another size than ours is the error CORRUPT. */
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

/** A range of a blob, from where the registry redirects to, if it does. Deleted meanwhile is the error STALE. */
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
 * Opens an upload of a blob; undefined where there is nothing to upload, as the registry could mount it from a
 * repository that is known to hold it.
 */
export async function startUpload(repository: Repository, digest: string): Promise<Upload | undefined> {
  const { http, holders, signal } = repository;
  const holder = holders.get(digest);
  const path = pathOf(repository, 'blobs/uploads/');
  if (holder !== undefined && holder !== repository.path) {
    try {
      const reply = await http.post(path, { query: { mount: digest, from: holder }, signal });
      debug('%s: mount from %s: %d', digest, holder, reply.status);
      return reply.status === 201 ? undefined : toUpload(repository, reply);
    } catch (error) {
      // No right to read there, or a registry that knows no mounts: the bytes can still be sent.
      if (!isError(error, 'UNAUTHORIZED', 'FORBIDDEN', 'NOT_FOUND', 'UNSUPPORTED', 'SERVICE')) throw error;
    }
  }
  return toUpload(repository, await http.post(path, { signal }));
}

function toUpload(registry: Registry, reply: BufferedResponse): Upload {
  const minChunk = Number(reply.headers['oci-chunk-min-length'] ?? 0);
  const location = nextLocation(registry, reply);
  return { location, minChunk: Number.isSafeInteger(minChunk) ? minChunk : 0 };
}

/** Where an upload goes on, from the answer of its last request. */
export function nextLocation(registry: Registry, reply: BufferedResponse): string {
  const location = URL.parse(reply.headers.location ?? '', reply.url.href);
  if (location === null)
    throw new SregistryError('SERVICE', `${registry.host}: an upload without a usable Location`);
  if (location.protocol === reply.url.protocol) return location.href;
  // A registry behind a proxy that ends TLS often takes itself for plain http.
  if (location.hostname === reply.url.hostname) return location.href.replace(/^https?:/, reply.url.protocol);
  throw new SregistryError('SERVICE', `${registry.host}: an upload led to ${location.origin}`);
}

/** The address that closes an upload. The query is appended as text: parsing and printing it may change signed parts. */
export function closingLocation(location: string, digest: string): string {
  return `${location}${location.includes('?') ? '&' : '?'}digest=${encodeURIComponent(digest)}`;
}

/** Pushes a blob that fits into one request, unless it is there. */
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
