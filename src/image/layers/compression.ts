/** Layers come as plain, gzip or zstd archives. Media types do not always say which; the first bytes do. */
import type { Duplex } from 'node:stream';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { malformed } from '../binary.ts';

const GZIP = Buffer.from([0x1f, 0x8b]);
/** RFC 8878: the first bytes of a frame, and of one to skip but for its lowest four bits. */
const ZSTD = 0xfd2fb528;
const SKIPPABLE = 0x184d2a50;
const isSkippable = (magic: number) => magic >= SKIPPABLE && magic <= SKIPPABLE + 15;

/** Bytes that a decompressor gives at a time. Node's 16 KiB make it half as fast. */
const CHUNK = 256 * 1024;
/** Bytes from which {@link decompressor} can tell. */
export const MAGIC_SIZE = 4;

export interface Decompressor {
  readonly stream: Duplex;
  /** Cuts the bytes as the stream needs them. */
  cut(chunks: AsyncIterable<Buffer>): AsyncIterable<Buffer>;
}

/** What turns a blob that begins with `head` into an archive; undefined if it is one already. */
export function decompressor(head: Buffer): Decompressor | undefined {
  if (GZIP.equals(head.subarray(0, GZIP.length)))
    return { stream: createGunzip({ chunkSize: CHUNK }), cut: (chunks) => chunks };
  const magic = head.length < MAGIC_SIZE ? 0 : head.readUInt32LE();
  return magic === ZSTD || isSkippable(magic)
    ? { stream: createZstdDecompress({ chunkSize: CHUNK }), cut: atFrames }
    : undefined;
}

/**
 * Ends a chunk where a frame ends: Node's decompressor takes one frame after the other, but ends at a frame that ends inside a
 * chunk. Archives of zstd:chunked have a frame for each file.
 */
async function* atFrames(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const frames = new Frames();
  for await (const chunk of chunks) {
    for (let rest = chunk; rest.length > 0; ) {
      const length = frames.take(rest);
      yield rest.subarray(0, length);
      rest = rest.subarray(length);
    }
  }
}

/** Follows the frames of a zstd stream (RFC 8878, 3.1) by their headers. */
class Frames {
  /** Bytes to pass over, before the next header. */
  #pass = 0;
  #header = Buffer.alloc(8);
  #has = 0;
  #needs = MAGIC_SIZE;
  #next: () => void = () => this.#magic();
  #atEnd = false;
  #hasChecksum = false;

  /** Takes bytes up to the end of a frame, or all. Returns how many. */
  take(bytes: Buffer): number {
    let at = 0;
    this.#atEnd = false;
    while (at < bytes.length && !this.#atEnd) {
      if (this.#pass > 0) {
        const passed = Math.min(this.#pass, bytes.length - at);
        this.#pass -= passed;
        at += passed;
      } else {
        const taken = bytes.copy(this.#header, this.#has, at, at + this.#needs - this.#has);
        this.#has += taken;
        at += taken;
        if (this.#has === this.#needs) {
          this.#has = 0;
          this.#next();
        }
      }
      if (this.#pass === 0 && this.#needs === 0) this.#end();
    }
    return at;
  }

  /** After `pass` bytes, `needs` bytes are a header that `next` reads; 0: the frame ends. */
  #expect(pass: number, needs: number, next: () => void = () => {}): void {
    this.#pass = pass;
    this.#needs = needs;
    this.#next = next;
  }

  #end(): void {
    this.#atEnd = true;
    this.#expect(0, MAGIC_SIZE, () => this.#magic());
  }

  #magic(): void {
    const magic = this.#header.readUInt32LE();
    if (isSkippable(magic)) this.#expect(0, 4, () => this.#expect(this.#header.readUInt32LE(), 0));
    else if (magic === ZSTD) this.#expect(0, 1, () => this.#descriptor());
    else throw malformed('what follows a frame of zstd is none');
  }

  #descriptor(): void {
    const descriptor = this.#header.readUInt8();
    const isSingle = (descriptor & 0x20) !== 0;
    this.#hasChecksum = (descriptor & 4) !== 0;
    const dictionary = [0, 1, 2, 4][descriptor & 3] as number;
    const size = [isSingle ? 1 : 0, 2, 4, 8][descriptor >> 6] as number;
    this.#expect((isSingle ? 0 : 1) + dictionary + size, 3, () => this.#block());
  }

  #block(): void {
    const header = this.#header.readUIntLE(0, 3);
    const isRepeated = ((header >> 1) & 3) === 1;
    const length = isRepeated ? 1 : header >> 3;
    if ((header & 1) === 0) this.#expect(length, 3, () => this.#block());
    else this.#expect(length + (this.#hasChecksum ? 4 : 0), 0);
  }
}
