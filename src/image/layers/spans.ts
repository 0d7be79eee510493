/**
 * The data of a layer in spans: parts that are decoded one by one, each from a range of the blob. So a read needs only the ranges of
 * the spans that it touches.
 *
 * A read asks for neighbouring spans with one request, and decodes each as soon as its bytes have arrived. Spans and the blocks of the
 * cache have different ends, so two neighbouring reads may need one span: those decoded last are kept in memory, and
 * {@link SpanData.widen} tells a reader what it gets for the same bytes of the blob.
 */
import { Readable } from 'node:stream';
import type { LRUCache } from 'lru-cache';
import { SregistryError } from '../../base/errors.ts';

export interface Span {
  /** Place of its first byte in the data, and how many it decodes to. */
  readonly at: number;
  readonly length: number;
  /** The bytes of the blob from which it is decoded: the first, and how many. */
  readonly from: number;
  readonly stored: number;
}

/** Spans in the order of their places in the data, which is that of their places in the blob. What lies between two is zeros. */
export interface Spans {
  /** Bytes of the data. */
  readonly size: number;
  readonly count: number;
  /** @param index from 0 to `count - 1`. */
  span(index: number): Span;
  /**
   * The `length` bytes of the span, from its `stored` bytes.
   * @throws {SregistryError} CORRUPT if they are not right.
   */
  decode(index: number, stored: Buffer): Promise<Uint8Array>;
}

/** Exactly `length` bytes of a blob from `offset`. */
export type ReadBlob = (offset: number, length: number, signal: AbortSignal) => Promise<Readable>;

/** Spans that were decoded last, of several layers: `<layer> <index>`. */
export type RecentSpans = LRUCache<string, Uint8Array>;

/** Bytes between two spans that are fetched rather than asking twice. */
const MAX_GAP = 16 * 1024;
/** Bytes of zeros that are handed out at once. */
const ZEROS = Buffer.alloc(64 * 1024);

export class SpanData {
  readonly #name: string;
  readonly #spans: Spans;
  readonly #read: ReadBlob;
  readonly #recent: RecentSpans;
  readonly #onBytes: (bytes: number) => void;
  readonly #maxGap: number;

  /**
   * @param name is the layer's in `recent`, and in errors.
   * @param recent keeps decoded spans for the next read.
   * @param onBytes is called with the bytes of the blob as they arrive.
   * @param maxGap bytes between two spans that are fetched rather than asking twice.
   */
  constructor(
    name: string,
    spans: Spans,
    read: ReadBlob,
    recent: RecentSpans,
    onBytes: (bytes: number) => void = () => {},
    maxGap = MAX_GAP,
  ) {
    this.#name = name;
    this.#spans = spans;
    this.#read = read;
    this.#recent = recent;
    this.#onBytes = onBytes;
    this.#maxGap = maxGap;
  }

  /** Exactly `length` bytes of the data from `offset`, each span decoded before its first byte is handed out. */
  stream(offset: number, length: number, signal: AbortSignal): Readable {
    return Readable.from(this.#bytes(offset, offset + length, signal), { objectMode: false });
  }

  /**
   * What reading `offset..end` gives as well: the range of the whole spans that it touches. With them come those that lie
   * within `end..until`. All places in the data.
   */
  widen(offset: number, end: number, until: number): { readonly offset: number; readonly end: number } {
    const { count } = this.#spans;
    let index = this.#indexAt(offset);
    if (index === count) return { offset, end: until };
    const first = this.#spans.span(index).at;
    let last = end;
    for (; index < count; index++) {
      const { at, length } = this.#spans.span(index);
      if (at >= end && at + length > until) return { offset: Math.min(first, offset), end: last };
      last = Math.max(last, at + length);
    }
    return { offset: Math.min(first, offset), end: Math.max(last, until) };
  }

  async *#bytes(offset: number, end: number, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    const { count } = this.#spans;
    let at = offset;
    for (let index = this.#indexAt(offset); at < end && index < count; ) {
      const last = this.#lastOfRun(index, end);
      for await (const [span, bytes] of this.#decoded(index, last, end, signal)) {
        if (span.at > at) yield* zeros(Math.min(span.at, end) - at);
        at = Math.max(at, span.at);
        if (at >= end) return;
        const part = bytes.subarray(at - span.at, end - span.at);
        at += part.length;
        yield part;
      }
      index = last + 1;
    }
    yield* zeros(end - at);
  }

  /** The spans `first..last`, which are one run, as far as they begin before `end`. */
  async *#decoded(
    first: number,
    last: number,
    end: number,
    signal: AbortSignal,
  ): AsyncGenerator<readonly [Span, Uint8Array]> {
    const span = this.#spans.span(first);
    if (span.at >= end) {
      yield [span, new Uint8Array(0)];
      return;
    }
    const known = this.#recent.get(this.#keyOf(first));
    if (known !== undefined) {
      yield [span, known];
      return;
    }
    const { from, stored } = this.#spans.span(last);
    const stream = await this.#read(span.from, from + stored - span.from, signal);
    const taker = new Taker(stream, this.#onBytes);
    try {
      let position = span.from;
      for (let index = first; index <= last; index++) {
        const next = this.#spans.span(index);
        await taker.take(next.from - position);
        const bytes = await taker.take(next.stored);
        position = next.from + next.stored;
        if (bytes.length < next.stored) throw this.#short(next);
        signal.throwIfAborted();
        const decoded = await this.#spans.decode(index, bytes);
        this.#recent.set(this.#keyOf(index), decoded);
        yield [next, decoded];
      }
    } finally {
      stream.destroy();
    }
  }

  /** The last of the spans from `first` on that one request fetches for the data before `end`. */
  #lastOfRun(first: number, end: number): number {
    if (this.#recent.has(this.#keyOf(first))) return first;
    let last = first;
    let { from, stored } = this.#spans.span(first);
    while (last + 1 < this.#spans.count) {
      const next = this.#spans.span(last + 1);
      const gap = next.from - (from + stored);
      if (next.at >= end || gap < 0 || gap > this.#maxGap || this.#recent.has(this.#keyOf(last + 1))) break;
      last += 1;
      ({ from, stored } = next);
    }
    return last;
  }

  /** The first span that ends behind a place; `count` if none does. */
  #indexAt(place: number): number {
    let [low, high] = [0, this.#spans.count];
    while (low < high) {
      const middle = (low + high) >>> 1;
      const { at, length } = this.#spans.span(middle);
      if (at + length > place) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  #keyOf(index: number): string {
    return `${this.#name} ${index}`;
  }

  #short({ from, stored }: Span): SregistryError {
    return new SregistryError(
      'SERVICE',
      `${this.#name}: the service sent less than the bytes ${from} to ${from + stored}`,
    );
  }
}

function* zeros(length: number): Generator<Uint8Array> {
  for (let left = length; left > 0; left -= ZEROS.length) yield ZEROS.subarray(0, left);
}

/** Takes bytes from a stream in the pieces that the caller needs. */
class Taker {
  readonly #chunks: AsyncIterator<Buffer>;
  readonly #onBytes: (bytes: number) => void;
  #rest: Buffer = Buffer.alloc(0);

  constructor(stream: Readable, onBytes: (bytes: number) => void) {
    this.#chunks = stream[Symbol.asyncIterator]();
    this.#onBytes = onBytes;
  }

  /** The next `length` bytes; fewer only at the end of the stream. */
  async take(length: number): Promise<Buffer> {
    const parts: Buffer[] = [];
    let missing = length;
    for (;;) {
      const part = this.#rest.subarray(0, missing);
      parts.push(part);
      this.#rest = this.#rest.subarray(part.length);
      missing -= part.length;
      if (missing === 0) break;
      const { done, value } = await this.#chunks.next();
      if (done) break;
      this.#onBytes(value.length);
      this.#rest = value;
    }
    return parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts);
  }
}
