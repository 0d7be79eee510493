/**
 * The part of an image that is on local disk: its entry, the fetcher that fills the entry, and the comparison that checks it.
 *
 * A block that the disk has lost, or that turned out to be wrong, counts as absent again and is fetched again. A disk that loses
 * blocks several times in a row is not used for that read.
 */
import type { SregistryError } from '../base/errors.ts';
import { debugLog } from '../log/index.ts';
import { BLOCK_SIZE, blocksOf } from './block-map.ts';
import { ColdStart, type TraceStore } from './cold-start.ts';
import { Comparison } from './comparison.ts';
import { isUnusable } from './degraded.ts';
import { type Entry, LostBlocksError } from './entry.ts';
import { Fetcher, type FetcherOptions } from './fetcher.ts';
import type { PassedBlocks } from './passed.ts';
import type { ReadAhead } from './read-ahead.ts';

/** Bytes that one request fetches when a whole image is completed. */
const COMPLETION_WINDOW = 16 * 1024 * 1024;
/** Parallel requests when a caller waits for the whole image. */
const COMPLETION_STREAMS = 3;
/** Times that blocks are fetched and lost before a read gives up on the disk. */
const ATTEMPTS = 3;

const debug = debugLog('cache');

export interface StoredImageOptions extends FetcherOptions {
  readonly digest: string | undefined;
  /** The entry is whole and was compared with its digest. */
  readonly isCompared: boolean;
  readonly traces: TraceStore;
  /** Knows blocks that are wrong from bytes that were read past the cache. */
  readonly passed: PassedBlocks;
  /** Ends the comparison. */
  readonly signal: AbortSignal;
  /** Takes the entry out of use: its bytes do not have the digest that the service stated. */
  quarantine(entry: Entry): void;
  /** Bytes that were handed out may not be those that are handed out from now on. */
  onDoubt(): void;
}

export class StoredImage {
  readonly entry: Entry;
  readonly #options: StoredImageOptions;
  readonly #fetcher: Fetcher;
  readonly #comparison: Comparison;
  readonly #start: ColdStart;

  constructor(options: StoredImageOptions) {
    const { entry, isCompared } = options;
    this.entry = entry;
    this.#options = options;
    this.#fetcher = new Fetcher(options);
    this.#start = new ColdStart({ ...options, image: options.digest ?? options.key, fetcher: this.#fetcher });
    this.#comparison = new Comparison({
      ...options,
      isRight: isCompared,
      quarantine: () => options.quarantine(entry),
    });
  }

  /** Bytes of fetches under way that have not arrived. */
  get pendingBytes(): number {
    return this.#fetcher.pendingBytes;
  }

  /** Does the complete image have its digest? False until it was compared. */
  get isRight(): boolean {
    return this.#comparison.isRight;
  }

  /** Is something fetched that nobody may have asked for yet? */
  get isStarting(): boolean {
    return this.#start.isBusy;
  }

  /** Fetches what a program needs that opens the image now, see {@link ColdStart}. */
  start(trace?: string): void {
    // A source that decodes, or that is counted or sent as a whole, is read as it is needed.
    if (this.#options.sequential || this.#options.source.decoded !== undefined) return;
    this.#start.begin(trace);
  }

  /** Resolves when the fetches that are under way now have ended. */
  async settled(): Promise<void> {
    await this.#start.settled();
    await this.#fetcher.settled();
  }

  /** Compares the complete image with its digest. Throws as {@link Comparison.run}. */
  compare(): Promise<void> {
    return this.#comparison.run();
  }

  /**
   * Reads `count` bytes at `offset` after fetching what is absent. Returns false if the cache cannot keep the bytes, or if the disk
   * loses them again and again. Throws CORRUPT if the complete image does not have its digest; else the source's errors.
   * `signal` is called when the read has to wait.
   */
  async read(
    target: Uint8Array,
    offset: number,
    count: number,
    ahead: ReadAhead,
    signal: () => AbortSignal | undefined,
  ): Promise<boolean> {
    const { entry } = this;
    const { first, last } = blocksOf(offset, count);
    const plan = ahead.plan(offset, count);
    const isForeseen = this.#start.note(first, last);
    const until = isForeseen ? last : blocksOf(0, plan.until).last;
    if (this.#comparison.failure !== undefined) throw this.#comparison.failure;
    if (plan.ahead && !isForeseen && !entry.map.complete) this.#fetcher.prefetch(first, until);
    for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
      try {
        if (!entry.map.hasAll(first, last)) await this.#fetcher.ensure(first, last, until, signal());
        if (this.#mustCompare(first, last)) await this.compare();
        const wrong = this.#options.passed.wrongIn(entry.map, first, last);
        if (wrong.length > 0) throw new LostBlocksError(entry.path, wrong);
        await entry.read(target, offset, count);
        return true;
      } catch (error) {
        if (isUnusable(error)) return false;
        if (!(error instanceof LostBlocksError)) throw error;
        this.#forget(error);
      }
    }
    return false;
  }

  /** As {@link read}, if it need not wait. If it must wait, it does nothing and returns false. */
  readKnown(
    target: Uint8Array,
    offset: number,
    count: number,
    ahead: ReadAhead,
    done: (count: number | undefined) => void,
  ): boolean {
    const { entry } = this;
    const { first, last } = blocksOf(offset, count);
    if (!entry.knows(first, last) || this.#comparison.failure !== undefined) return false;
    if (this.#mustCompare(first, last)) return false;
    if (!entry.map.complete) {
      const plan = ahead.plan(offset, count);
      const isForeseen = this.#start.note(first, last);
      if (plan.ahead && !isForeseen) this.#fetcher.prefetch(first, blocksOf(0, plan.until).last);
    }
    entry.readKnown(target, offset, count, done);
    return true;
  }

  /** Fetches what is absent, the first bytes first. Resolves when the image is whole and its digest is right. */
  async fetchAll(progress?: (done: number, total: number) => void, signal?: AbortSignal): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      await this.#fetchAbsent(progress, signal);
      try {
        await this.compare();
        const lost = await this.entry.check(signal);
        if (lost.length === 0) return;
        throw new LostBlocksError(this.entry.path, lost);
      } catch (error) {
        if (!(error instanceof LostBlocksError) || attempt === ATTEMPTS) throw error;
        this.#forget(error);
      }
    }
  }

  /** Fetches the next absent window. Returns false if none is absent. */
  async completeStep(signal: AbortSignal): Promise<boolean> {
    const { map } = this.entry;
    const first = map.firstAbsent(0, map.blocks - 1);
    if (first === undefined) return false;
    const last = Math.min(map.blocks - 1, first + COMPLETION_WINDOW / BLOCK_SIZE - 1);
    await this.#fetcher.ensure(first, last, last, signal);
    return true;
  }

  /** Forgets the blocks that are known to be wrong, so that whoever opens the image next fetches them. */
  forgetWrong(): void {
    const { map, path } = this.entry;
    const wrong = this.#options.passed.wrongIn(map, 0, map.blocks - 1);
    if (wrong.length > 0) this.#forget(new LostBlocksError(path, wrong));
  }

  /** Ends every fetch with `reason` and refuses more. Resolves when none is under way. */
  async endFetches(reason: SregistryError): Promise<void> {
    this.#start.save();
    await this.#fetcher.close(reason);
    await this.#start.settled();
  }

  /** Closes the files, once nothing is fetched, read or compared any more. */
  close(): Promise<void> {
    return this.entry.close();
  }

  #mustCompare(first: number, last: number): boolean {
    const { completedBy } = this.entry.map;
    if (completedBy === undefined || this.isRight) return false;
    return first <= completedBy.last && last >= completedBy.first;
  }

  #forget({ blocks }: LostBlocksError): void {
    const { index, key, onDoubt, uri } = this.#options;
    onDoubt();
    this.entry.forget(blocks);
    this.#comparison.reset();
    try {
      index.recount(key, this.entry);
    } catch (error) {
      debug('%s lost blocks, and the index could not note it: %o', uri, error);
    }
  }

  async #fetchAbsent(progress?: (done: number, total: number) => void, signal?: AbortSignal): Promise<void> {
    const { map, size } = this.entry;
    const windows = Math.ceil(size / COMPLETION_WINDOW);
    const perWindow = COMPLETION_WINDOW / BLOCK_SIZE;
    let window = 0;
    const stream = async () => {
      while (window < windows) {
        const first = window * perWindow;
        const last = Math.min(map.blocks, first + perWindow) - 1;
        window += 1;
        await this.#fetcher.ensure(first, last, last, signal);
        progress?.(Math.min(size, this.entry.bytes), size);
      }
    };
    await Promise.all(Array.from({ length: COMPLETION_STREAMS }, stream));
  }
}
