/** The image cache for its user: lists, pins, removes and verifies images in it. */
import { SregistryError } from '../base/errors.ts';
import { freeSpace } from '../cache/location.ts';
import { detach } from '../cache/trash.ts';
import { type Verification, type VerifyCounts, verifyCache } from '../cache/verify.ts';
import type { CacheEntryRow } from '../catalog/cache-tables.ts';
import type { Session } from './session.ts';
import { parseTarget } from './target.ts';

export interface CacheEntry {
  /** Service and name it was last used under. */
  readonly uri: string;
  readonly digest: string | undefined;
  /** Bytes of the whole image. */
  readonly size: number;
  /** Bytes of it on disk. */
  readonly bytes: number;
  readonly complete: boolean;
  readonly pinned: boolean;
  /** ISO 8601. */
  readonly lastUsed: string;
}

export interface CacheUsage {
  readonly path: string;
  readonly images: number;
  readonly bytes: number;
  readonly limit: number;
  readonly pinnedBytes: number;
  /** Bytes free on its file system. */
  readonly free: number;
}

export interface PruneOptions {
  /** Milliseconds: removes only images unused for that long. */
  readonly unusedFor?: number | undefined;
  /** Stop as soon as the cache holds no more bytes than this. Default 0. */
  readonly downTo?: number | undefined;
}

export interface Pruned {
  readonly images: number;
  readonly bytes: number;
}

export type { Verification, VerifyCounts };

/** What is in the cache, most recently used first. */
export function listCache({ cache }: Session): CacheEntry[] {
  return cache.list().map(toEntry).reverse();
}

export async function cacheUsage({ cache }: Session): Promise<CacheUsage> {
  const entries = cache.list();
  const pinned = entries.filter((entry) => entry.pinned === 1);
  return {
    path: cache.root,
    images: entries.length,
    bytes: cache.bytes,
    limit: cache.limit,
    pinnedBytes: pinned.reduce((sum, { bytes }) => sum + bytes, 0),
    free: await freeSpace(cache.root),
  };
}

/** Pins or unpins the revision that a name stands for, as far as the cache has or will have it. Returns its URI. */
export async function pin(
  session: Session,
  text: string,
  pinned: boolean,
  signal?: AbortSignal,
): Promise<string> {
  const { backend, name } = await parseTarget(text, session);
  const uri = session.uri(backend, name);
  if (backend.localPath !== undefined)
    throw new SregistryError('UNSUPPORTED', `${uri} is on a local disk, so it is never cached`);
  const image = await session.metadata.images.resolve(backend, name, signal);
  if (image === undefined)
    throw new SregistryError('NOT_FOUND', `${uri} does not exist in ${backend.target}`);
  if (image.layered !== undefined)
    throw new SregistryError('UNSUPPORTED', `${uri} is stored as layers, which cannot be pinned`);
  const cached = session.openCached(backend, image);
  try {
    session.state.cacheIndex.entries.pin(cached.key, pinned);
  } finally {
    await session.cache.close(cached);
  }
  return uri;
}

/** Removes images that are neither open nor pinned, the least recently used first. */
export function prune(session: Session, { unusedFor = 0, downTo = 0 }: PruneOptions = {}): Pruned {
  const { cache, state } = session;
  const before = Date.now() - unusedFor;
  const removed: CacheEntryRow[] = [];
  for (const entry of cache.list()) {
    if (cache.bytes <= downTo || entry.last_used > before) break;
    if (state.cacheIndex.evict(entry.key, () => void detach(cache.root, entry.key))) removed.push(entry);
  }
  return { images: removed.length, bytes: removed.reduce((sum, { bytes }) => sum + bytes, 0) };
}

/**
 * Repairs the cache folder and its index, then compares every whole image with its digest and removes wrong ones. Yields one
 * result an image, then returns what each step counted.
 */
export function verify(
  { cache: { root }, state: { cacheIndex: index } }: Session,
  signal?: AbortSignal,
): AsyncGenerator<Verification, VerifyCounts> {
  return verifyCache({ root, index }, signal);
}

function toEntry(row: CacheEntryRow): CacheEntry {
  const { uri, digest, size, bytes, complete, pinned, last_used } = row;
  return {
    uri,
    digest: digest ?? undefined,
    size,
    bytes: Math.min(bytes, size),
    complete: complete === 1,
    pinned: pinned === 1,
    lastUsed: new Date(last_used).toISOString(),
  };
}
