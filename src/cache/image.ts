/**
 * One image revision as its readers see it: reads come from the cache, what is absent is fetched first, and where the
 * cache has no room left reads go through to the service. Shared by every handle of the process on that revision.
 */
import { isError, SregistryError, systemCode } from '../base/errors.ts';
import { sha256File } from '../base/hash.ts';
import type { CacheIndex } from '../catalog/cache-index.ts';
import { BLOCK_SIZE, blocksOf } from './block-map.ts';
import type { Entry } from './entry.ts';
import { Fetcher, type RangeSource } from './fetcher.ts';
import { ReadAhead } from './read-ahead.ts';

/** Fetched by one request when a whole image is completed. */
const COMPLETION_WINDOW = 16 * 1024 * 1024;
/** Requests at once when a whole image is completed by someone who waits for it. */
const COMPLETION_STREAMS = 3;

/** Ends a wait; as a function where it is only made when something is waited for, as most reads find their bytes. */
export type Signal = AbortSignal | (() => AbortSignal);

export interface CachedImageOptions {
  readonly key: string;
  readonly uri: string;
  readonly digest: string | undefined;
  readonly entry: Entry;
  readonly index: CacheIndex;
  readonly source: RangeSource;
  readonly limit: number;
  makeRoom(bytes: number): Promise<boolean>;
  onBytes(bytes: number): void;
  /** The bytes do not have the digest the service stated: take the entry out of use. */
  quarantine(): void;
}

export class CachedImage {
  readonly key: string;
  readonly uri: string;
  /** Handles open on it in this process. */
  references = 0;
  /** Milliseconds since the epoch of the first and the last read. */
  firstRead = 0;
  lastRead = 0;
  readonly #options: CachedImageOptions;
  readonly #fetcher: Fetcher;
  #corrupt: SregistryError | undefined;
  #verification: Promise<void> | undefined;

  constructor(options: CachedImageOptions) {
    this.#options = options;
    this.key = options.key;
    this.uri = options.uri;
    this.#fetcher = new Fetcher({
      key: options.key,
      entry: options.entry,
      index: options.index,
      source: options.source,
      limit: options.limit,
      makeRoom: options.makeRoom,
      onBytes: options.onBytes,
      onComplete: () => void this.#verify().catch(() => {}),
    });
  }

  get size(): number {
    return this.#options.entry.size;
  }

  /** Bytes on local disk, at most the size. */
  get cachedBytes(): number {
    return Math.min(this.size, this.#options.entry.bytes);
  }

  get complete(): boolean {
    return this.#options.entry.map.complete;
  }

  /** Bytes of fetches under way that have not arrived. */
  get pendingBytes(): number {
    return this.#fetcher.pendingBytes;
  }

  /** Path of the data file; whole only when `complete`. */
  get path(): string {
    return this.#options.entry.path;
  }

  /** State for one reader's read-ahead. */
  readAhead(): ReadAhead {
    return new ReadAhead(this.size, this.#options.limit / 4);
  }

  /**
   * Reads up to `length` bytes at `offset` into `target`; resolves to how many, fewer only at the end of the image.
   * CORRUPT where the complete image did not have its digest; else the source's errors.
   */
  async read(
    target: Uint8Array,
    offset: number,
    length: number,
    ahead: ReadAhead,
    signal?: Signal,
  ): Promise<number> {
    const count = Math.min(length, this.size - offset);
    if (count <= 0) return 0;
    if (this.#corrupt !== undefined) throw this.#corrupt;
    this.lastRead = Date.now();
    this.firstRead ||= this.lastRead;
    const { entry } = this.#options;
    const { first, last } = blocksOf(offset, count);
    const plan = ahead.plan(offset, count);
    const present = entry.map.hasAll(first, last);
    let made: AbortSignal | undefined;
    const stop = () => {
      made ??= typeof signal === 'function' ? signal() : signal;
      return made;
    };
    if (plan.ahead && !entry.map.complete) {
      this.#fetcher.prefetch(first, blocksOf(0, plan.until).last);
    }
    if (present) {
      await this.#readPresent(target, offset, count, stop);
      return count;
    }
    try {
      await this.#fetcher.ensure(first, last, blocksOf(0, plan.until).last, stop());
    } catch (error) {
      if (!isFull(error)) throw error;
      await this.#readThrough(target, offset, count, stop());
      return count;
    }
    await this.#readPresent(target, offset, count, stop);
    return count;
  }

  /** Fetches what is absent, the first bytes first; resolves when the image is whole and its digest is right. */
  async fetchAll(progress?: (done: number, total: number) => void, signal?: AbortSignal): Promise<void> {
    const { map } = this.#options.entry;
    const windows = Math.ceil(this.size / COMPLETION_WINDOW);
    const perWindow = COMPLETION_WINDOW / BLOCK_SIZE;
    let window = 0;
    const stream = async () => {
      while (window < windows) {
        const first = window * perWindow;
        const last = Math.min(map.blocks, first + perWindow) - 1;
        window += 1;
        await this.#fetcher.ensure(first, last, last, signal);
        progress?.(this.cachedBytes, this.size);
      }
    };
    await Promise.all(Array.from({ length: COMPLETION_STREAMS }, stream));
    await this.#verify();
  }

  /** Fetches the next absent window; false when there is none. For completion in the background. */
  async completeStep(signal: AbortSignal): Promise<boolean> {
    const { map } = this.#options.entry;
    const first = map.firstAbsent(0, map.blocks - 1);
    if (first === undefined) return false;
    const last = Math.min(map.blocks - 1, first + COMPLETION_WINDOW / BLOCK_SIZE - 1);
    await this.#fetcher.ensure(first, last, last, signal);
    return true;
  }

  /** Ends fetches and closes the files. What is present stays for the next time. */
  async close(): Promise<void> {
    this.#fetcher.abort();
    await this.#verification?.catch(() => {});
    if (this.#corrupt === undefined) await this.#options.entry.sync();
    this.#options.entry.close();
  }

  async #readPresent(
    target: Uint8Array,
    offset: number,
    count: number,
    stop: () => AbortSignal | undefined,
  ): Promise<void> {
    try {
      await this.#options.entry.read(target, offset, count);
    } catch (error) {
      if (!isError(error, 'CORRUPT')) throw error;
      await this.#readThrough(target, offset, count, stop());
    }
  }

  /** Reads from the service without keeping the bytes. */
  async #readThrough(
    target: Uint8Array,
    offset: number,
    count: number,
    signal = new AbortController().signal,
  ): Promise<void> {
    const { source, onBytes } = this.#options;
    let done = 0;
    for await (const chunk of (await source(offset, count, signal)) as AsyncIterable<Uint8Array>) {
      if (done + chunk.length > count)
        throw new SregistryError('SERVICE', `${this.uri}: more bytes than asked for`);
      target.set(chunk, done);
      done += chunk.length;
      onBytes(chunk.length);
    }
    if (done !== count)
      throw new SregistryError('SERVICE', `${this.uri}: ${done} of the ${count} bytes asked for`);
  }

  /** Compares the complete image with its digest, once; a mismatch takes it out of use. */
  #verify(): Promise<void> {
    this.#verification ??= this.#compareDigest();
    return this.#verification;
  }

  async #compareDigest(): Promise<void> {
    const { digest, entry, index, key, uri } = this.#options;
    if (this.#corrupt !== undefined) throw this.#corrupt;
    if (index.get(key)?.complete === 1) return;
    if (digest !== undefined) {
      const actual = await sha256File(entry.path);
      if (actual !== digest) {
        this.#corrupt = new SregistryError(
          'CORRUPT',
          `${uri}: the bytes received have sha256 ${actual}, the service stated ${digest}`,
          { hint: 'The copy in the cache was set aside; open the image again to fetch it anew' },
        );
        this.#options.quarantine();
        throw this.#corrupt;
      }
    }
    await entry.sync();
    index.markComplete(key, digest !== undefined);
  }
}

/** Did it fail because cache or disk have no room? */
export function isFull(error: unknown): boolean {
  return isError(error, 'NO_SPACE') || ['ENOSPC', 'EDQUOT'].includes(systemCode(error) ?? '');
}
