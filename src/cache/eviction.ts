/**
 * Keeps the cache below its limit and the disk above its reserve: least recently used images go first, open and pinned
 * ones stay. The order of use within this process is kept by lru-cache; what other processes added or used is merged
 * in from the index when room is needed.
 */
import { LRUCache } from 'lru-cache';
import { systemCode } from '../base/errors.ts';
import type { CacheIndex } from '../catalog/cache-index.ts';
import { entryFolder, freeSpace, trash } from './location.ts';

export interface EvictionOptions {
  readonly root: string;
  readonly index: CacheIndex;
  /** Bytes the cache may hold. */
  readonly limit: number;
  /** Bytes that stay free on its file system. */
  readonly minFree: number;
}

export class Eviction {
  readonly #options: EvictionOptions;
  /** Entries by key, valued by when they were last used (milliseconds since the epoch). */
  readonly #recency: LRUCache<string, number>;

  constructor(options: EvictionOptions) {
    this.#options = options;
    this.#recency = new LRUCache({ max: 100_000 });
  }

  /** Notes that an entry is used now. */
  touch(key: string): void {
    this.#recency.set(key, Date.now());
  }

  forget(key: string): void {
    this.#recency.delete(key);
  }

  /** Makes room for so many bytes more. False where what is left is open, pinned, or not ours. */
  async makeRoom(bytes: number): Promise<boolean> {
    const { index, limit, minFree, root } = this.#options;
    let excess = index.total() + bytes - limit;
    let shortage = minFree + bytes - (await freeSpace(root));
    if (excess <= 0 && shortage <= 0) return true;
    this.#merge();
    for (const key of this.#leastRecentFirst()) {
      const freed = this.#evict(key);
      excess -= freed;
      shortage -= freed;
      if (excess <= 0 && shortage <= 0) return true;
    }
    return false;
  }

  /** Evicts this entry if nobody uses it; bytes freed. */
  #evict(key: string): number {
    const { index, root } = this.#options;
    const entry = index.get(key);
    const evicted = entry !== undefined && index.evict(key, () => detach(root, key));
    if (entry === undefined || evicted) this.#recency.delete(key);
    return evicted ? entry.bytes : 0;
  }

  #leastRecentFirst(): string[] {
    return [...this.#recency.rkeys()];
  }

  /** Puts entries that other processes used, or that were there before this one started, in their place. */
  #merge(): void {
    const used = new Map(this.#recency.entries());
    for (const { key, last_used } of this.#options.index.list()) {
      if ((used.get(key) ?? 0) < last_used) used.set(key, last_used);
    }
    const oldestFirst = [...used].sort(([, a], [, b]) => a - b);
    for (const [key, time] of oldestFirst) this.#recency.set(key, time);
  }
}

/** Takes an entry's files out of sight; a lost folder is as good as a removed one. */
export function detach(root: string, key: string): void {
  try {
    trash(root, entryFolder(root, key));
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
  }
}
