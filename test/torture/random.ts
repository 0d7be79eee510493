/**
 * Numbers that follow from a seed, so that a run can be planned again: xorshift128 (Marsaglia 2003), seeded by a hash. The
 * plan follows from the seed, the timing does not.
 */
import { createHash } from 'node:crypto';

export class Random {
  readonly #state: Uint32Array;

  constructor(...seed: (string | number)[]) {
    const hash = createHash('sha256').update(seed.join('/')).digest();
    this.#state = Uint32Array.from({ length: 4 }, (_, word) => hash.readUInt32LE(word * 4) | 1);
  }

  /** 0 <= x < 1 */
  next(): number {
    const state = this.#state;
    const [first = 0, , , last = 0] = state;
    let mixed = first ^ (first << 11);
    mixed ^= mixed >>> 8;
    state.copyWithin(0, 1);
    state[3] = mixed ^ last ^ (last >>> 19);
    return (state[3] ?? 0) / 2 ** 32;
  }

  /** An integer, `from <= x < to`. */
  integer(from: number, to: number): number {
    return from + Math.floor(this.next() * (to - from));
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  pick<T>(from: readonly T[]): T {
    return from[this.integer(0, from.length)] as T;
  }

  /** One of the keys, each as often as its weight says. */
  weighted<K extends string>(weights: Partial<Record<K, number>>): K {
    const entries = Object.entries(weights) as [K, number][];
    let at = this.next() * entries.reduce((sum, [, weight]) => sum + weight, 0);
    for (const [key, weight] of entries) {
      at -= weight;
      if (at < 0) return key;
    }
    return (entries.at(-1) as [K, number])[0];
  }
}
