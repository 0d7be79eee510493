/**
 * Remembers the sizes that the kernel was told lately. It keeps the attributes of a path for a moment and cuts reads to their
 * size. If the path stands for other bytes by then (a write was refused, others moved the tag), a reader would get the new
 * bytes up to the old size. So opening waits until the kernel asks again.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';

/** Number of paths: more than the kernel asks for within the moment. */
const MAX = 10_000;

/** Number of moments to wait at most: somebody may ask for a changing path again and again. */
const ROUNDS = 3;

export class ToldSizes {
  readonly #sizes: LRUCache<string, number>;

  /** `moment`: milliseconds for which the kernel keeps attributes, and some more. */
  constructor(moment: number) {
    this.#sizes = new LRUCache({ max: MAX, ttl: moment, ttlResolution: 0 });
  }

  /** Notes that the kernel was told that the path has so many bytes. */
  note(path: string, size: number): void {
    this.#sizes.set(path, size);
  }

  /** Follows a rename. */
  rename(from: string, to: string): void {
    const size = this.#sizes.get(from);
    this.#sizes.delete(from);
    if (size === undefined) this.#sizes.delete(to);
    else this.#sizes.set(to, size);
  }

  /** Resolves when the kernel knows no other size of the path than this one; it may be told of another one in the meantime. */
  async settled(path: string, size: number): Promise<void> {
    for (let round = 0; round < ROUNDS; round += 1) {
      const told = this.#sizes.get(path);
      if (told === undefined || told === size) return;
      await sleep(Math.max(1, this.#sizes.getRemainingTTL(path)));
    }
  }
}
