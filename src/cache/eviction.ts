/**
 * Keeps the cache below its limit and the disk above its reserve: least recently used images go first, open and pinned ones
 * stay. The index knows when any process last used each one. lru-cache keeps what this process has used since; the later of the
 * two times counts.
 *
 * It decides whether it can free enough before it evicts anything: something too large to fit evicts nothing. It frees
 * a little more than needed, so that a full cache does not evict for every fetch.
 */
import { LRUCache } from 'lru-cache';
import type { CacheIndex } from '../catalog/cache-index.ts';
import type { CacheEntryRow } from '../catalog/cache-tables.ts';
import { isFull } from './degraded.ts';
import { freeSpace } from './location.ts';
import { detach } from './trash.ts';

/** Bytes freed beyond what is needed, but not more than this part of the limit. */
const SLACK = 64 * 1024 * 1024;
const SLACK_PART = 0.02;
/** Entries looked at together, least recently used first. */
const BATCH = 256;

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
  /** When this process used entries, by key (milliseconds since the epoch). */
  readonly #used: LRUCache<string, number>;
  readonly #slack: number;

  constructor(options: EvictionOptions) {
    this.#options = options;
    this.#used = new LRUCache({ max: 100_000 });
    this.#slack = Math.min(SLACK, options.limit * SLACK_PART);
  }

  /** Notes that an entry is used now. */
  touch(key: string): void {
    this.#used.set(key, Date.now());
  }

  /**
   * Makes room for so many more bytes. If everything left is open, pinned or not the cache's, returns false and evicts nothing.
   */
  async makeRoom(bytes: number): Promise<boolean> {
    const { index, limit, minFree, root } = this.#options;
    if (bytes > limit) return false;
    const excess = index.total() + bytes - limit;
    // Bytes reserved by fetches under way are not on the disk yet.
    const shortage = minFree + index.claims.reserved() + bytes - (await freeSpace(root));
    return this.#freeIfPossible(Math.max(excess, shortage));
  }

  /**
   * Makes room on the disk for so many bytes of something else, which may use the reserve. If everything left is open, pinned
   * or not the cache's, returns false and evicts nothing.
   */
  async makeRoomOnDisk(bytes: number): Promise<boolean> {
    return this.#freeIfPossible(bytes - (await freeSpace(this.#options.root)));
  }

  /** Frees the reserve of the disk again, as far as evicting can. Other programs, and files being written, use it up. */
  async keepReserve(): Promise<void> {
    const { index, minFree, root } = this.#options;
    const shortage = minFree - (await freeSpace(root));
    const freed = Math.min(shortage, index.entries.evictable());
    if (freed > 0) await this.#free(freed);
  }

  async #freeIfPossible(needed: number): Promise<boolean> {
    if (needed <= 0) return true;
    if (!this.#canFree(needed)) return false;
    return (await this.#free(needed)) >= needed;
  }

  #canFree(needed: number): boolean {
    const { index } = this.#options;
    if (index.entries.evictable() >= needed) return true;
    index.opens.forgetDead();
    return index.entries.evictable() >= needed;
  }

  /** Evicts until `needed` bytes are free. Resolves to how many were freed, when their files are gone. */
  async #free(needed: number): Promise<number> {
    const removals: Promise<void>[] = [];
    let freed = 0;
    for (let before = -1; before !== freed && freed < needed; ) {
      before = freed;
      for (const entry of this.#oldest()) {
        const wanted = freed < needed ? Number.POSITIVE_INFINITY : needed + this.#slack - freed;
        if (entry.bytes > wanted) break;
        if (await this.#evict(entry.key, removals)) freed += entry.bytes;
      }
    }
    await Promise.all(removals);
    return freed;
  }

  async #evict(key: string, removals: Promise<void>[]): Promise<boolean> {
    const { index, root } = this.#options;
    const act = () => index.evict(key, () => removals.push(detach(root, key)));
    try {
      return act();
    } catch (error) {
      if (!isFull(error)) throw error;
      // The disk has no room even for the note in the index. Removing the detached files makes some.
      await Promise.all(removals);
      return act();
    }
  }

  /** The entries to evict first, in order. */
  #oldest(): CacheEntryRow[] {
    const lastUse = ({ key, last_used }: CacheEntryRow) => Math.max(last_used, this.#used.get(key) ?? 0);
    return this.#options.index.entries.leastRecentlyUsed(BATCH).sort((a, b) => lastUse(a) - lastUse(b));
  }
}
