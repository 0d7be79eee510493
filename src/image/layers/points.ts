/**
 * Chooses the restart points of a layer while its blob streams by. The spans between them have about {@link SPAN_SIZE}.
 */
import { malformed } from '../binary.ts';
import { type Compression, compressionOf, MAGIC_SIZE } from './compression.ts';
import { type GzipPlace, GzipScanner } from './gzip.ts';
import type { RestartPoint } from './restart.ts';
import { FrameScanner } from './zstd-frames.ts';

/** Bytes of a span: a read of a few bytes takes that many, and each point costs up to 32 KiB. */
export const SPAN_SIZE = 4 * 1024 * 1024;
/** Most bytes of a span, decompressed or in the blob: a span is decoded in memory. Archives of other programs have far shorter blocks. */
export const MAX_SPAN_SIZE = 64 * 1024 * 1024;

export interface Points {
  readonly points: readonly RestartPoint[];
  /** Bytes of the archive. */
  readonly size: number;
  /** Bytes of the blob up to the end of the archive. */
  readonly storedSize: number;
}

/** Reads one compression, and tells the places at which decompression can begin. */
interface Scanner {
  push(chunk: Uint8Array): void;
  end(): void;
  readonly size: number;
  readonly compressedSize: number;
}

export class PointFinder {
  readonly #points: RestartPoint[] = [];
  #head = Buffer.alloc(0);
  #scanner: Scanner | undefined;
  readonly #spanSize: number;

  /** @param spanSize fewest bytes of the archive between two points, but for one where a gzip member begins. */
  constructor(spanSize: number = SPAN_SIZE) {
    this.#spanSize = spanSize;
  }

  /** Takes the next bytes of the blob. @throws {SregistryError} NOT_AN_IMAGE if it is malformed, or has no good points. */
  push(chunk: Uint8Array): void {
    if (this.#scanner !== undefined) {
      this.#scanner.push(chunk);
      return;
    }
    this.#head = Buffer.concat([this.#head, chunk]);
    if (this.#head.length >= MAGIC_SIZE) this.#begin();
  }

  /** The blob ends. @throws {SregistryError} as {@link push}. */
  end(): Points {
    const scanner = this.#scanner ?? this.#begin();
    scanner.end();
    const { size, compressedSize: storedSize } = scanner;
    this.#checkSpan(size, storedSize);
    // A point at the end has no span.
    const points = this.#points.filter(({ offset }) => offset < size);
    return { points, size, storedSize };
  }

  #begin(): Scanner {
    this.#scanner = this.#scannerOf(compressionOf(this.#head));
    this.#scanner.push(this.#head);
    return this.#scanner;
  }

  #scannerOf(compression: Compression): Scanner {
    switch (compression) {
      case 'gzip':
        return new GzipScanner((place) => this.#add(pointOf(place)));
      case 'zstd':
        return new FrameScanner((from, offset) => this.#add({ ...WHOLE, kind: 'frame', offset, from }));
      case 'none':
        return new PlainScanner(this.#spanSize, (offset) =>
          this.#add({ ...WHOLE, kind: 'plain', offset, from: offset }),
        );
    }
  }

  #add(point: RestartPoint): void {
    const last = this.#points.at(-1);
    if (last === undefined) {
      this.#points.push(point);
      return;
    }
    this.#checkSpan(point.offset, point.from);
    // Blocks of two members are not decompressed together.
    const mustBreak = last.kind === 'block' && point.kind === 'member';
    if (point.offset - last.offset < this.#spanSize && !mustBreak) return;
    if (point.offset === last.offset) this.#points.pop();
    this.#points.push(point);
  }

  /** Checks that the span that ends here is not too large to be decoded at once. */
  #checkSpan(offset: number, from: number): void {
    const last = this.#points.at(-1);
    const length = Math.max(offset - (last?.offset ?? 0), from - (last?.from ?? 0));
    if (length > MAX_SPAN_SIZE) throw malformed(`${length} bytes of the layer have no place to restart at`);
  }
}

/** A point at the beginning of a byte. */
const WHOLE = { bits: 0, byte: 0 };

function pointOf({ kind, at, bit, byte, offset }: GzipPlace): RestartPoint {
  return bit === 0
    ? { ...WHOLE, kind, offset, from: at }
    : { kind, offset, from: at + 1, bits: 8 - bit, byte };
}

/** Tells every `step` bytes of an archive that is not compressed. */
class PlainScanner implements Scanner {
  size = 0;
  readonly #step: number;
  readonly #onPlace: (offset: number) => void;

  constructor(step: number, onPlace: (offset: number) => void) {
    this.#step = step;
    this.#onPlace = onPlace;
    onPlace(0);
  }

  get compressedSize(): number {
    return this.size;
  }

  push(chunk: Uint8Array): void {
    const end = this.size + chunk.length;
    const first = this.size - (this.size % this.#step) + this.#step;
    for (let at = first; at <= end; at += this.#step) this.#onPlace(at);
    this.size = end;
  }

  end(): void {}
}
