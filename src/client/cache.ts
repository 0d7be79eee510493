/** The image cache as its user handles it: what is in it, what stays, what goes, whether it is right. */
import { join } from 'node:path';
import { SregistryError, systemCode } from '../base/errors.ts';
import { sha256File } from '../base/hash.ts';
import { detach } from '../cache/eviction.ts';
import { entryFolder, freeSpace } from '../cache/location.ts';
import type { CacheEntryRow } from '../catalog/cache-index.ts';
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
  /** Milliseconds: only what was not used for that long. */
  readonly unusedFor?: number | undefined;
  /** Stop as soon as the cache holds no more bytes than this. Default 0. */
  readonly downTo?: number | undefined;
}

export interface Pruned {
  readonly images: number;
  readonly bytes: number;
}

export interface Verification {
  readonly uri: string;
  /** `unverifiable` where its service states no digest, or the image is not whole. */
  readonly result: 'right' | 'wrong' | 'unverifiable';
}

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

/** Keeps the revision that a name stands for in the cache, as far as it is or will be there; or no longer. Its URI. */
export async function pin(
  session: Session,
  text: string,
  pinned: boolean,
  signal?: AbortSignal,
): Promise<string> {
  const { backend, name } = await parseTarget(text, session);
  const uri = session.uri(backend.name, name);
  if (backend.localPath !== undefined)
    throw new SregistryError('UNSUPPORTED', `${uri} is on a disk here and never cached`);
  const image = await session.view.resolve(backend, name, signal);
  if (image === undefined)
    throw new SregistryError('NOT_FOUND', `${uri} does not exist in ${backend.target}`);
  const cached = session.openCached(backend, image);
  try {
    session.state.cacheIndex.pin(cached.key, pinned);
  } finally {
    await session.cache.close(cached);
  }
  return uri;
}

/** Removes what nobody has open and is not pinned, the least recently used first. */
export function prune(session: Session, { unusedFor = 0, downTo = 0 }: PruneOptions = {}): Pruned {
  const { cache, state } = session;
  const before = Date.now() - unusedFor;
  const removed: CacheEntryRow[] = [];
  for (const entry of cache.list()) {
    if (cache.bytes <= downTo || entry.last_used > before) break;
    if (state.cacheIndex.evict(entry.key, () => detach(cache.root, entry.key))) removed.push(entry);
  }
  return { images: removed.length, bytes: removed.reduce((sum, { bytes }) => sum + bytes, 0) };
}

/** Compares every whole image with its digest; what is wrong is removed. */
export async function* verify(session: Session, signal?: AbortSignal): AsyncGenerator<Verification> {
  for (const entry of session.cache.list()) {
    yield { uri: entry.uri, result: await verifyEntry(session, entry, signal) };
  }
}

async function verifyEntry(
  { cache: { root }, state }: Session,
  { key, complete, digest }: CacheEntryRow,
  signal?: AbortSignal,
): Promise<Verification['result']> {
  if (complete === 0 || digest === null) return 'unverifiable';
  const data = join(entryFolder(root, key), 'data');
  const actual = await sha256File(data, { signal }).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  });
  if (actual === digest) return 'right';
  state.cacheIndex.discard(key, () => detach(root, key));
  return 'wrong';
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
