/**
 * The first seconds of an image that is opened as a file and is not on local disk. What will be read is fetched before anybody asks:
 * what an earlier start touched (trace.ts), several requests at once, in order of use. Without a trace it is the beginning of the
 * image, and the tables of its file system as soon as the header has told where they lie.
 *
 * Meanwhile it notes what is read, for the next start. A container is started by several programs that open and close the image, so
 * what was begun goes on after a close: it is bounded.
 */
import type { ByteRange } from '../base/extents.ts';
import { rootTables } from '../image/root-tables.ts';
import type { ByteSource } from '../image/source.ts';
import { debugLog } from '../log/index.ts';
import { type BlockRange, blocksOf } from './block-map.ts';
import type { Entry } from './entry.ts';
import type { Fetcher } from './fetcher.ts';
import {
  formatTrace,
  isCopy,
  MAX_BYTES,
  mergeTraces,
  parseTrace,
  requestsOf,
  START_TIME,
  type Trace,
} from './trace.ts';

/** Requests at once. With so many of 1 MiB the delay of a fast link does not count. */
const STREAMS = 6;
/** Bytes from the beginning that hold the header and the descriptors of a usual image, and what is fetched of it at first. */
const HEAD = 256 * 1024;
/** Bytes of the tables to fetch. Those of 100,000 files take about 3 MiB. What a mount reads first lies at their end. */
const MAX_TABLES = 4 * 1024 * 1024;

const debug = debugLog('cache');

/** Where traces are kept. It may fail. */
export interface TraceStore {
  get(image: string): string | undefined;
  put(image: string, ranges: string): void;
}

export interface ColdStartOptions {
  /** Names the image in messages. */
  readonly uri: string;
  /** Names the bytes of the image: their digest, if it is known. */
  readonly image: string;
  readonly entry: Entry;
  readonly fetcher: Fetcher;
  readonly traces: TraceStore;
  /** Bytes that the cache may hold. */
  readonly limit: number;
}

export class ColdStart {
  readonly #options: ColdStartOptions;
  readonly #touched = new Set<number>();
  #known: Trace = new Set();
  #work: Promise<void> | undefined;
  /** Milliseconds since the epoch after which nothing is noted any more. */
  #until = 0;

  constructor(options: ColdStartOptions) {
    this.#options = options;
  }

  /** Is something fetched that nobody may have asked for yet? */
  get isBusy(): boolean {
    return this.#work !== undefined;
  }

  /** Begins, unless it has begun or the image is whole. `foreign`: the trace to use if the image was not started here before. */
  begin(foreign = ''): void {
    const { entry, limit } = this.#options;
    // In a small cache, what was not asked for would drive out what was.
    if (this.#until > 0 || entry.map.complete || limit < 4 * MAX_BYTES) return;
    this.#until = Date.now() + START_TIME;
    this.#known = this.#load();
    if (this.#known.size === 0) this.#known = parseTrace(foreign, entry.size);
    const requests = requestsOf(this.#known);
    const work = requests.length > 0 ? this.#replay(requests) : this.#fetchTables();
    this.#work = work
      .catch((error: unknown) => debug('%s is fetched as it is read: %o', this.#options.uri, error))
      .finally(() => {
        this.#work = undefined;
      });
  }

  /** Resolves when nothing is fetched ahead any more. */
  async settled(): Promise<void> {
    await this.#work;
  }

  /**
   * Notes that these blocks are read. Returns true if all of them are in the trace of an earlier start: then what comes next is, too,
   * and reading ahead is of no use.
   */
  note(first: number, last: number): boolean {
    if (this.#until === 0) return false;
    if (Date.now() > this.#until) {
      this.save();
      return false;
    }
    let isKnown = true;
    for (let block = first; block <= last; block += 1) {
      isKnown &&= this.#known.has(block);
      this.#touched.add(block);
    }
    return isKnown;
  }

  /** Keeps what was noted, if it tells something new. */
  save(): void {
    const touched = new Set(this.#touched);
    this.#touched.clear();
    if ([...touched].every((block) => this.#known.has(block)) || isCopy(touched)) return;
    const { image, traces, uri } = this.#options;
    try {
      this.#known = mergeTraces(new Set([...this.#load(), ...this.#known]), touched);
      traces.put(image, formatTrace(this.#known));
    } catch (error) {
      debug('the start of %s was not noted: %o', uri, error);
    }
  }

  #load(): Trace {
    const { entry, image, traces, uri } = this.#options;
    try {
      return parseTrace(traces.get(image) ?? '', entry.size);
    } catch (error) {
      debug('how %s starts is not known: %o', uri, error);
      return new Set();
    }
  }

  /** Fetches the ranges in their order, several at once. */
  async #replay(requests: readonly BlockRange[]): Promise<void> {
    const { fetcher } = this.#options;
    let next = 0;
    const stream = async () => {
      for (;;) {
        const range = requests[next];
        if (range === undefined) return;
        next += 1;
        await fetcher.ensure(range.first, range.last, range.last);
      }
    };
    await Promise.all(Array.from({ length: STREAMS }, stream));
  }

  async #fetchTables(): Promise<void> {
    const { entry, fetcher } = this.#options;
    const tables = await rootTables(this.#head());
    if (tables === undefined) return;
    const { start, end } = inside(tables, entry.size);
    if (start >= end) return;
    const { first, last } = blocksOf(start, end - start);
    await fetcher.ensure(first, last, last);
  }

  /** The beginning of the image. What lies behind it is not there, whatever a header claims. */
  #head(): ByteSource {
    const { entry, fetcher } = this.#options;
    const last = blocksOf(0, Math.min(entry.size, HEAD)).last;
    return {
      size: entry.size,
      read: async (offset, length) => {
        const count = Math.max(0, Math.min(length, HEAD - offset, entry.size - offset));
        const bytes = Buffer.alloc(count);
        if (count === 0) return bytes;
        await fetcher.ensure(0, last, last);
        await entry.read(bytes, offset, count);
        return bytes;
      },
    };
  }
}

/** The part of a range that is in the image, and no more than {@link MAX_TABLES} of it. */
function inside({ start, end }: ByteRange, size: number): ByteRange {
  const to = Math.min(end, size);
  return { start: Math.max(start, to - MAX_TABLES, 0), end: to };
}
