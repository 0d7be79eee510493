/**
 * One image revision as its readers see it. Reads come from the cache, after fetching what is absent. Where the cache can
 * keep nothing (no room, a busy index), reads go through to the service. All handles of the process on that revision
 * share it.
 *
 * Readers get right bytes. The first read of each block compares the block with its checksum. A complete image is compared
 * with its digest, and a read of the blocks that completed it waits for that: a reader of the whole image reads these
 * blocks too, so nobody gets a whole wrong image. In an image that was complete but not compared when it was opened,
 * every read waits. Bytes that are read through are compared as passed.ts says.
 *
 * | state   | read, fetchAll, completeStep | close                                                    |
 * |---------|------------------------------|----------------------------------------------------------|
 * | open    | run                          | closing: ends fetches and comparison, waits for all work |
 * | closing | CANCELED                     | waits with the first                                     |
 * | closed  | CANCELED                     | done already; the files are closed                       |
 */
import { SregistryError } from '../base/errors.ts';
import type { CacheIndex } from '../catalog/cache-index.ts';
import { debugLog } from '../log/index.ts';
import { BLOCK_SIZE, blocksOf } from './block-map.ts';
import { Comparison } from './comparison.ts';
import { isFull, isUnusable } from './degraded.ts';
import { type Entry, LostBlocksError } from './entry.ts';
import { Fetcher, type FetcherOptions } from './fetcher.ts';
import { InFlight } from './in-flight.ts';
import { PassedBlocks } from './passed.ts';
import { ReadAhead } from './read-ahead.ts';
import type { Origin } from './receive.ts';

export { isFull };

/** Fetched by one request when a whole image is completed. */
const COMPLETION_WINDOW = 16 * 1024 * 1024;
/** Parallel requests when a caller waits for the whole image. */
const COMPLETION_STREAMS = 3;
/** Times blocks are fetched that the disk then turns out to have lost, before they are read past the cache. */
const ATTEMPTS = 3;

const debug = debugLog('cache');

/** Aborts a wait. A function defers creating the signal until a read has to wait, as most reads find their bytes. */
export type Signal = AbortSignal | (() => AbortSignal);

export interface CachedImageOptions extends Origin {
  readonly key: string;
  readonly size: number;
  readonly digest: string | undefined;
  /** Undefined if the cache cannot keep this image: every read goes to the service. */
  readonly entry: Entry | undefined;
  /** The entry is whole and was compared with its digest. */
  readonly isCompared: boolean;
  readonly index: CacheIndex;
  /** As {@link FetcherOptions.sequential}. */
  readonly sequential: boolean;
  readonly limit: number;
  makeRoom(bytes: number): Promise<boolean>;
  onBytes(bytes: number): void;
  /** The bytes do not have the digest the service stated: take the entry out of use. */
  quarantine(entry: Entry): void;
  /** From now on, opening the image gives another {@link CachedImage}. */
  retire(): void;
}

/** An entry, and what fills and compares it. */
interface Kept {
  readonly entry: Entry;
  readonly fetcher: Fetcher;
  readonly comparison: Comparison;
}

export class CachedImage {
  readonly key: string;
  readonly uri: string;
  readonly size: number;
  /** Handles open on it in this process. */
  references = 0;
  /** Milliseconds since the epoch of the first and the last read. */
  firstRead = 0;
  lastRead = 0;
  readonly #options: CachedImageOptions;
  readonly #kept: Kept | undefined;
  readonly #passed: PassedBlocks;
  readonly #work: InFlight;
  /** Ends the comparison and what reads past the cache. */
  readonly #stop = new AbortController();
  #state: 'open' | 'closing' | 'closed' = 'open';
  #closing: Promise<void> | undefined;

  constructor(options: CachedImageOptions) {
    this.#options = options;
    this.key = options.key;
    this.uri = options.uri;
    this.size = options.size;
    this.#passed = new PassedBlocks(options);
    this.#work = new InFlight(options.uri);
    const { entry } = options;
    this.#kept = entry === undefined ? undefined : this.#keep(entry);
  }

  get state(): 'open' | 'closing' | 'closed' {
    return this.#state;
  }

  /** Bytes on local disk, at most the size. */
  get cachedBytes(): number {
    return Math.min(this.size, this.#kept?.entry.bytes ?? 0);
  }

  get complete(): boolean {
    return this.#kept?.entry.map.complete ?? false;
  }

  /** Bytes of fetches under way that have not arrived. */
  get pendingBytes(): number {
    return this.#kept?.fetcher.pendingBytes ?? 0;
  }

  /** Is a fetch of the whole image under way that is to go on when nobody reads? */
  get isFilling(): boolean {
    return this.#options.sequential && this.pendingBytes > 0;
  }

  /** Resolves when the fetches that are under way now have ended. */
  async settled(): Promise<void> {
    await this.#kept?.fetcher.settled();
  }

  /** Path of the data file; whole only after {@link fetchAll}. Throws NO_SPACE if the cache keeps nothing of this image. */
  get path(): string {
    return this.#require().entry.path;
  }

  /** State for one reader's read-ahead. */
  readAhead(): ReadAhead {
    return new ReadAhead(this.size, this.#options.limit / 4);
  }

  /**
   * Reads up to `length` bytes at `offset` into `target`; resolves to how many, fewer only at the end of the image.
   * CORRUPT if the complete image did not have its digest; throws CANCELED if the image was closed; else the source's
   * errors. The wait for the comparison is not ended by the signal: it reads the local disk alone.
   */
  read(
    target: Uint8Array,
    offset: number,
    length: number,
    ahead: ReadAhead,
    signal?: Signal,
  ): Promise<number> {
    return this.#work.run(async () => {
      const count = Math.min(length, this.size - offset);
      if (count <= 0) return 0;
      if (signal instanceof AbortSignal) signal.throwIfAborted();
      if (this.#passed.failure !== undefined) throw this.#passed.failure;
      this.lastRead = Date.now();
      this.firstRead ||= this.lastRead;
      const stop = once(signal);
      const served =
        this.#kept !== undefined && (await this.#readKept(this.#kept, target, offset, count, ahead, stop));
      // Past the cache, each read of such a file would be a whole download.
      if (!served && this.#options.sequential) throw this.#noRoom();
      if (!served) await this.#passed.read(target, offset, count, this.#until(stop()));
      if (this.#passed.isPending) await this.#comparePassed(stop);
      return count;
    });
  }

  /** Fetches what is absent, the first bytes first; resolves when the image is whole and its digest is right. */
  fetchAll(progress?: (done: number, total: number) => void, signal?: AbortSignal): Promise<void> {
    return this.#work.run(async () => {
      signal?.throwIfAborted();
      const kept = this.#require();
      for (let attempt = 1; ; attempt += 1) {
        await this.#fetchAbsent(kept, progress, signal);
        try {
          await kept.comparison.run();
          const lost = await kept.entry.check(signal);
          if (lost.length === 0) return;
          throw new LostBlocksError(kept.entry.path, lost);
        } catch (error) {
          if (!(error instanceof LostBlocksError) || attempt === ATTEMPTS) throw error;
          this.#forget(kept, error);
        }
      }
    });
  }

  /**
   * Copies the image to the new file `file`, after {@link fetchAll}: the bytes that were compared, whatever another process
   * has put in their place since.
   */
  copyTo(file: string): Promise<void> {
    return this.#work.run(() => this.#require().entry.copyTo(file));
  }

  /** A text that changes whenever anybody changes the bytes on local disk. */
  stamp(): string {
    this.#work.check();
    return this.#require().entry.stamp();
  }

  /** Fetches the next absent window; false when there is none. For completion in the background. */
  completeStep(signal: AbortSignal): Promise<boolean> {
    return this.#work.run(async () => {
      if (this.#kept === undefined) return false;
      const { entry, fetcher } = this.#kept;
      const first = entry.map.firstAbsent(0, entry.map.blocks - 1);
      if (first === undefined) return false;
      const last = Math.min(entry.map.blocks - 1, first + COMPLETION_WINDOW / BLOCK_SIZE - 1);
      await fetcher.ensure(first, last, last, signal);
      return true;
    });
  }

  /**
   * Ends fetches and closes the files. What is present stays for the next time. When it resolves nothing of this image
   * is fetched, read, written or compared any more.
   */
  close(): Promise<void> {
    this.#closing ??= this.#end();
    return this.#closing;
  }

  async #end(): Promise<void> {
    this.#state = 'closing';
    const reason = new SregistryError('CANCELED', `${this.uri} was closed`);
    this.#stop.abort(reason);
    try {
      await Promise.all([this.#work.close(), this.#kept?.fetcher.close(reason)]);
    } finally {
      await this.#kept?.entry.close();
      this.#state = 'closed';
    }
  }

  #keep(entry: Entry): Kept {
    const { key, uri, digest, isCompared, index, source, sequential, limit, makeRoom, onBytes, quarantine } =
      this.#options;
    const comparison = new Comparison({
      key,
      uri,
      digest,
      entry,
      index,
      isRight: isCompared,
      signal: this.#stop.signal,
      quarantine: () => quarantine(entry),
    });
    const onComplete = () => void this.#work.run(() => comparison.run()).catch(() => {});
    const fetcher = new Fetcher({
      key,
      uri,
      entry,
      index,
      source,
      sequential,
      limit,
      makeRoom,
      onBytes,
      onComplete,
    });
    return { entry, fetcher, comparison };
  }

  #require(): Kept {
    if (this.#kept !== undefined) return this.#kept;
    throw this.#noRoom();
  }

  #noRoom(): SregistryError {
    return new SregistryError('NO_SPACE', `The cache could not store ${this.uri}`, {
      hint: 'Free disk space, or set SREGISTRY_CACHEDIR to a folder with room',
    });
  }

  /** Reads through the cache. False if it cannot keep the bytes, or the disk loses them again and again. */
  async #readKept(
    kept: Kept,
    target: Uint8Array,
    offset: number,
    count: number,
    ahead: ReadAhead,
    stop: () => AbortSignal | undefined,
  ): Promise<boolean> {
    const { entry, fetcher, comparison } = kept;
    const { first, last } = blocksOf(offset, count);
    const plan = ahead.plan(offset, count);
    const until = blocksOf(0, plan.until).last;
    if (comparison.failure !== undefined) throw comparison.failure;
    if (plan.ahead && !entry.map.complete) fetcher.prefetch(first, until);
    for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
      try {
        if (!entry.map.hasAll(first, last)) await fetcher.ensure(first, last, until, stop());
        if (this.#mustCompare(kept, first, last)) await comparison.run();
        const wrong = this.#passed.wrongIn(entry.map, first, last);
        if (wrong.length > 0) throw new LostBlocksError(entry.path, wrong);
        await entry.read(target, offset, count);
        return true;
      } catch (error) {
        if (isUnusable(error)) return false;
        if (!(error instanceof LostBlocksError)) throw error;
        this.#forget(kept, error);
      }
    }
    return false;
  }

  #mustCompare({ entry, comparison }: Kept, first: number, last: number): boolean {
    const { completedBy } = entry.map;
    if (completedBy === undefined || comparison.isRight) return false;
    return first <= completedBy.last && last >= completedBy.first;
  }

  /** The disk lost blocks: they count as absent again. */
  #forget({ entry, comparison }: Kept, { blocks }: LostBlocksError): void {
    entry.forget(blocks);
    comparison.reset();
    try {
      this.#options.index.recount(this.key, entry);
    } catch (error) {
      debug('%s lost blocks, which could not be noted: %o', this.uri, error);
    }
  }

  async #fetchAbsent(
    { entry: { map }, fetcher }: Kept,
    progress?: (done: number, total: number) => void,
    signal?: AbortSignal,
  ): Promise<void> {
    const windows = Math.ceil(this.size / COMPLETION_WINDOW);
    const perWindow = COMPLETION_WINDOW / BLOCK_SIZE;
    let window = 0;
    const stream = async () => {
      while (window < windows) {
        const first = window * perWindow;
        const last = Math.min(map.blocks, first + perWindow) - 1;
        window += 1;
        await fetcher.ensure(first, last, last, signal);
        progress?.(this.cachedBytes, this.size);
      }
    };
    await Promise.all(Array.from({ length: COMPLETION_STREAMS }, stream));
  }

  async #comparePassed(stop: () => AbortSignal | undefined): Promise<void> {
    const { entry, comparison } = this.#kept ?? {};
    if (entry !== undefined && comparison?.isRight) return this.#passed.compareWith(entry.map);
    if (!this.#passed.isDue(entry?.map)) return;
    try {
      await this.#passed.compare(entry?.map, this.#until(stop()));
    } catch (error) {
      if (this.#kept !== undefined) this.#forgetWrong(this.#kept);
      throw error;
    }
  }

  /** The blocks of the cache that are known to be wrong count as absent, for whoever opens the image next. */
  #forgetWrong(kept: Kept): void {
    const { entry } = kept;
    const wrong = this.#passed.wrongIn(entry.map, 0, entry.map.blocks - 1);
    if (wrong.length > 0) this.#forget(kept, new LostBlocksError(entry.path, wrong));
  }

  /** Fires with `signal`, and when the image is closed. */
  #until(signal: AbortSignal | undefined): AbortSignal {
    const stop = this.#stop.signal;
    const either = signal === undefined ? stop : AbortSignal.any([signal, stop]);
    either.throwIfAborted();
    return either;
  }
}

/** The signal, made when it is asked for first. */
function once(signal: Signal | undefined): () => AbortSignal | undefined {
  let made: AbortSignal | undefined;
  return () => {
    made ??= typeof signal === 'function' ? signal() : signal;
    return made;
  };
}
