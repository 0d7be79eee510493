/**
 * How many bytes of an image are on disk, according to the index. Whoever lists a folder asks that of each image in it: such a burst
 * shares one reading of the whole index instead of statements for each image.
 */
import type { CacheIndex } from '../catalog/cache-index.ts';
import type { CacheEntryRow } from '../catalog/cache-tables.ts';
import type { RemoteImage } from '../image/remote.ts';
import { ownKeyOf } from './entry-key.ts';

/** Questions that follow each other within so many milliseconds are a burst, if there are more than {@link FEW}. */
const CLOSE = 50;
const FEW = 8;
/** Milliseconds for which a reading counts. Other processes fetch and evict. */
const LIFETIME = 250;

interface Reading {
  readonly byKey: ReadonlyMap<string, CacheEntryRow>;
  /** Complete entries whose bytes were compared with their digest. */
  readonly byDigest: ReadonlyMap<string, CacheEntryRow>;
  /** When it ends, on the clock of `performance`. */
  readonly until: number;
}

export interface Stored {
  readonly key: string;
  readonly bytes: number;
}

export class StoredBytes {
  readonly #index: CacheIndex;
  #reading: Reading | undefined;
  #burst = 0;
  #askedAt = 0;

  constructor(index: CacheIndex) {
    this.#index = index;
  }

  /** The entry of an image, whether the index has it or not. Throws DATABASE if the index cannot be asked. */
  of(target: string, image: RemoteImage): Stored {
    const { digest, size } = image;
    const reading = this.#current();
    const { entries } = this.#index;
    const verified =
      digest && (reading === undefined ? entries.findVerified(digest) : reading.byDigest.get(digest));
    const key = verified && verified.size === size ? verified.key : ownKeyOf(target, image);
    const row = reading === undefined ? entries.get(key) : reading.byKey.get(key);
    return { key, bytes: Math.min(size, row?.bytes ?? 0) };
  }

  /** Reads the index again for the next question: this process has changed it. */
  forget(): void {
    this.#reading = undefined;
  }

  /** The reading to answer from; undefined if one question is not worth it. */
  #current(): Reading | undefined {
    const now = performance.now();
    this.#burst = now - this.#askedAt < CLOSE ? this.#burst + 1 : 0;
    this.#askedAt = now;
    if (this.#burst < FEW) return undefined;
    if (this.#reading === undefined || now > this.#reading.until) {
      const rows = this.#index.entries.list();
      const verified = rows.filter((row) => row.verified === 1 && row.digest !== null);
      this.#reading = {
        byKey: new Map(rows.map((row) => [row.key, row])),
        byDigest: new Map(verified.map((row) => [row.digest as string, row])),
        until: now + LIFETIME,
      };
    }
    return this.#reading;
  }
}
