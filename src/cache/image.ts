/**
 * One image revision as its readers see it. Reads come from the cache, after fetching what is absent. If the cache cannot
 * keep the bytes (no room, a busy index), reads go through to the service. All handles of the process on that revision
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
import type { TraceStore } from './cold-start.ts';
import type { Entry } from './entry.ts';
import type { FetcherOptions } from './fetcher.ts';
import { InFlight } from './in-flight.ts';
import { PassedBlocks } from './passed.ts';
import { ReadAhead } from './read-ahead.ts';
import type { Origin } from './receive.ts';
import { StoredImage } from './stored-image.ts';

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
  readonly traces: TraceStore;
  /** As {@link FetcherOptions.sequential}. */
  readonly sequential: boolean;
  readonly limit: number;
  makeRoom(bytes: number): Promise<boolean>;
  onBytes(bytes: number): void;
  /** Takes the entry out of use: its bytes do not have the digest that the service stated. */
  quarantine(entry: Entry): void;
  /** From now on, opening the image gives another {@link CachedImage}. */
  retire(): void;
  /** Another number after each {@link onDoubt}, also of an earlier opening. */
  doubts(): number;
  /** Bytes that were handed out may not be those that are handed out from now on. */
  onDoubt(): void;
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
  readonly #stored: StoredImage | undefined;
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
    this.#stored = entry === undefined ? undefined : this.#store(entry);
  }

  get state(): 'open' | 'closing' | 'closed' {
    return this.#state;
  }

  /** Names where the bytes come from. While it stays the same, bytes that were read before are those that a read gives now. */
  get copy(): string {
    return `${this.#stored?.entry.id ?? 'none'} ${this.#options.doubts()}`;
  }

  /** Bytes on local disk, at most the size. */
  get cachedBytes(): number {
    return Math.min(this.size, this.#stored?.entry.bytes ?? 0);
  }

  get complete(): boolean {
    return this.#stored?.entry.map.complete ?? false;
  }

  /** Bytes of fetches under way that have not arrived. */
  get pendingBytes(): number {
    return this.#stored?.pendingBytes ?? 0;
  }

  /** Is a fetch under way that continues when nobody reads? */
  get isFilling(): boolean {
    return (this.#options.sequential && this.pendingBytes > 0) || (this.#stored?.isStarting ?? false);
  }

  /** Fetches what the start of a container reads before it asks. */
  start(trace?: string): void {
    if (this.#state === 'open') this.#stored?.start(trace);
  }

  /** Resolves when the fetches that are under way now have ended. */
  async settled(): Promise<void> {
    await this.#stored?.settled();
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
   * Throws CORRUPT if the complete image does not have its digest, CANCELED if the image was closed; else the source's
   * errors. The signal does not end a wait for the comparison, which reads the local disk alone.
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
      this.#noteRead();
      const stop = once(signal);
      const served = await this.#stored?.read(target, offset, count, ahead, stop);
      // Past the cache, each read of such a file would be a whole download.
      if (!served && this.#options.sequential) throw this.#noRoom();
      if (!served) {
        this.#options.onDoubt();
        await this.#passed.read(target, offset, count, this.#until(stop()));
      }
      if (this.#passed.isPending) await this.#comparePassed(stop);
      return count;
    });
  }

  /**
   * {@link read}, where the bytes are on local disk and were compared. Most reads are such, and a promise costs as much as reading.
   * Returns false, and does nothing, where there is something to wait for. Calls `done` with the number of bytes, or with undefined
   * if they could not be read: {@link read} tells why.
   */
  readKnown(
    target: Uint8Array,
    offset: number,
    length: number,
    ahead: ReadAhead,
    done: (count: number | undefined) => void,
  ): boolean {
    const count = Math.min(length, this.size - offset);
    if (count <= 0 || this.#state !== 'open' || this.#stored === undefined || this.#passed.isUsed)
      return false;
    if (!this.#stored.readKnown(target, offset, count, ahead, done)) return false;
    this.#noteRead();
    return true;
  }

  /** Fetches what is absent, the first bytes first. Resolves when the image is whole and its digest is right. */
  fetchAll(progress?: (done: number, total: number) => void, signal?: AbortSignal): Promise<void> {
    return this.#work.run(async () => {
      signal?.throwIfAborted();
      await this.#require().fetchAll(progress, signal);
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

  /** Fetches the next absent window, for the background fill. Returns false if none is absent. */
  completeStep(signal: AbortSignal): Promise<boolean> {
    return this.#work.run(async () => (await this.#stored?.completeStep(signal)) ?? false);
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
      await Promise.all([this.#work.close(), this.#stored?.endFetches(reason)]);
    } finally {
      await this.#stored?.close();
      this.#state = 'closed';
    }
  }

  #noteRead(): void {
    this.lastRead = Date.now();
    this.firstRead ||= this.lastRead;
  }

  #store(entry: Entry): StoredImage {
    const stored: StoredImage = new StoredImage({
      ...this.#options,
      entry,
      passed: this.#passed,
      signal: this.#stop.signal,
      onComplete: () => void this.#work.run(() => stored.compare()).catch(() => {}),
    });
    return stored;
  }

  #require(): StoredImage {
    if (this.#stored !== undefined) return this.#stored;
    throw this.#noRoom();
  }

  #noRoom(): SregistryError {
    return new SregistryError('NO_SPACE', `The cache could not store ${this.uri}`, {
      hint: 'Free disk space, or set SREGISTRY_CACHEDIR to a folder with room',
    });
  }

  /** Compares the bytes that were read past the cache, if that is possible by now. */
  async #comparePassed(stop: () => AbortSignal | undefined): Promise<void> {
    const map = this.#stored?.entry.map;
    if (map !== undefined && this.#stored?.isRight) return this.#passed.compareWith(map);
    if (!this.#passed.isDue(map)) return;
    try {
      await this.#passed.compare(map, this.#until(stop()));
    } catch (error) {
      this.#stored?.forgetWrong();
      throw error;
    }
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
