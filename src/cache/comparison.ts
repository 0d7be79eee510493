/**
 * Compares a complete image with the digest its service stated, once for all callers.
 *
 * | state   | asked for                         | outcome of the comparison                            |
 * |---------|-----------------------------------|------------------------------------------------------|
 * | due     | starts, and goes on as running    |                                                      |
 * | running | waits for the one under way       | same: right; other: wrong; any failure: due again    |
 * | right   | nothing to do                     |                                                      |
 * | wrong   | throws CORRUPT, for good          |                                                      |
 *
 * A failure (no descriptor left, no memory, closed meanwhile) says nothing about the bytes, so the next caller starts the
 * comparison again. An image is also due if another process completed it and was killed before comparing.
 */
import { isError, SregistryError } from '../base/errors.ts';
import type { CacheIndex } from '../catalog/cache-index.ts';
import { debugLog } from '../log/index.ts';
import { type Entry, LostBlocksError } from './entry.ts';

const debug = debugLog('cache');

export interface ComparisonOptions {
  readonly key: string;
  readonly uri: string;
  readonly digest: string | undefined;
  readonly entry: Entry;
  readonly index: CacheIndex;
  /** Was it compared in an earlier opening? */
  readonly isRight: boolean;
  /** Ends the hashing. */
  readonly signal: AbortSignal;
  /** Takes the entry out of use: its bytes are wrong. */
  quarantine(): void;
}

export class Comparison {
  readonly #options: ComparisonOptions;
  #state: 'due' | 'right' | SregistryError = 'due';
  #running: Promise<void> | undefined;
  /** Bytes were lost and fetched again: the index still speaks of the old ones. */
  #lost = false;

  constructor(options: ComparisonOptions) {
    this.#options = options;
    if (options.isRight) this.#state = 'right';
  }

  get isRight(): boolean {
    return this.#state === 'right';
  }

  /** What every read throws once the bytes are known to be wrong. */
  get failure(): SregistryError | undefined {
    return this.#state instanceof SregistryError ? this.#state : undefined;
  }

  /**
   * Resolves when the complete image has its digest, or when its service states none. Throws CORRUPT if it has another digest,
   * {@link LostBlocksError} if the disk lost bytes that had arrived; else why the image could not be compared.
   */
  async run(): Promise<void> {
    if (this.failure !== undefined) throw this.failure;
    if (this.isRight) return;
    this.#running ??= this.#compare().finally(() => {
      this.#running = undefined;
    });
    await this.#running;
  }

  /** Makes the image due again after bytes were lost: their replacement is compared again. */
  reset(): void {
    this.#lost = true;
    if (this.isRight) this.#state = 'due';
  }

  async #compare(): Promise<void> {
    const { digest, entry, signal } = this.#options;
    if (!this.#lost && this.#isKnown()) {
      this.#state = 'right';
      return;
    }
    let stamp: string | undefined;
    if (digest !== undefined) {
      stamp = entry.stamp();
      const actual = await entry.sha256(signal);
      if (actual !== digest) await this.#reject(actual, digest);
      entry.trustAll();
    }
    this.#state = 'right';
    await this.#note(stamp);
  }

  /** Did another process compare it meanwhile? */
  #isKnown(): boolean {
    const { entry, index, key } = this.#options;
    try {
      return index.entries.get(key)?.complete === 1 && entry.isCurrent();
    } catch (error) {
      if (!isError(error, 'DATABASE')) throw error;
      return false;
    }
  }

  async #reject(actual: string, digest: string): Promise<never> {
    const { entry, signal, uri } = this.#options;
    entry.distrustAll();
    const lost = await entry.check(signal);
    if (lost.length > 0) throw new LostBlocksError(entry.path, lost);
    const failure = new SregistryError(
      'CORRUPT',
      `${uri}: the bytes received have sha256 ${actual}, the service stated ${digest}`,
      { hint: 'The copy in the cache was set aside; open the image again to fetch it anew' },
    );
    this.#state = failure;
    try {
      this.#options.quarantine();
    } catch (error) {
      debug('%s could not be set aside: %o', uri, error);
    }
    throw failure;
  }

  /** Tells other processes. A failure is not an error: the next opening compares the bytes again. */
  async #note(stamp: string | undefined): Promise<void> {
    const { entry, index, key, uri } = this.#options;
    try {
      await entry.sync();
      index.markComplete(key, stamp, () => entry.isCurrent());
    } catch (error) {
      debug('%s is right, but the index could not note it: %o', uri, error);
    }
  }
}
