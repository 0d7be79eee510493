/**
 * Follows the frames of zstd files (RFC 8878, 3.1) by their headers, without decompressing them.
 */
import { malformed } from '../binary.ts';

/** The first bytes of a frame, and of one to skip but for its lowest four bits. */
const ZSTD = 0xfd2fb528;
const SKIPPABLE = 0x184d2a50;
const isSkippable = (magic: number) => magic >= SKIPPABLE && magic <= SKIPPABLE + 15;

/** Bytes that tell what a frame is. */
const MAGIC_SIZE = 4;

/** Does a zstd file begin so? */
export function isZstd(head: Buffer): boolean {
  const magic = head.length < MAGIC_SIZE ? 0 : head.readUInt32LE();
  return magic === ZSTD || isSkippable(magic);
}

/** Tells where the frames of a zstd file begin, as far as each frame says how many bytes it holds. */
export class FrameScanner {
  readonly #frames = new Frames();
  readonly #onFrame: (from: number, offset: number) => void;
  /** Bytes of the file, and of what it holds. */
  compressedSize = 0;
  size = 0;
  #isInside = false;

  /** @param onFrame gets the bytes before the frame: of the file, and of what the file holds. */
  constructor(onFrame: (from: number, offset: number) => void) {
    this.#onFrame = onFrame;
  }

  /** Takes the next bytes of the file. @throws {SregistryError} NOT_AN_IMAGE if a frame does not say how many bytes it holds. */
  push(chunk: Uint8Array): void {
    for (let rest = chunk; rest.length > 0; ) {
      if (!this.#isInside) this.#onFrame(this.compressedSize, this.size);
      const length = this.#frames.take(rest);
      rest = rest.subarray(length);
      this.compressedSize += length;
      this.#isInside = !this.#frames.isAtEnd;
      if (this.#isInside) continue;
      const { contentSize } = this.#frames;
      if (contentSize === undefined) throw malformed('a frame of zstd does not say its size');
      this.size += contentSize;
    }
  }

  /** The file ends. @throws {SregistryError} NOT_AN_IMAGE if it ends in a frame. */
  end(): void {
    if (this.#isInside) throw malformed('the zstd file ends too early');
  }
}

/**
 * Ends a chunk where a frame ends: Node's decompressor takes one frame after the other, but ends at a frame that ends inside a
 * chunk. Archives of zstd:chunked have a frame for each file.
 */
export async function* atFrames(chunks: AsyncIterable<Buffer> | Iterable<Buffer>): AsyncGenerator<Buffer> {
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
  #header = Buffer.alloc(16);
  #has = 0;
  #needs = MAGIC_SIZE;
  #next: () => void = () => this.#magic();
  #atEnd = false;
  #hasChecksum = false;
  #contentSize: number | undefined;

  /** Did {@link take} end at the end of a frame? */
  get isAtEnd(): boolean {
    return this.#atEnd;
  }

  /** Bytes that the frame holds; undefined if its header does not say. */
  get contentSize(): number | undefined {
    return this.#contentSize;
  }

  /** Takes bytes up to the end of a frame, or all. Returns how many. */
  take(bytes: Uint8Array): number {
    let at = 0;
    this.#atEnd = false;
    while (at < bytes.length && !this.#atEnd) {
      if (this.#pass > 0) {
        const passed = Math.min(this.#pass, bytes.length - at);
        this.#pass -= passed;
        at += passed;
      } else {
        const part = bytes.subarray(at, at + this.#needs - this.#has);
        this.#header.set(part, this.#has);
        const taken = part.length;
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
    this.#contentSize = 0;
    if (isSkippable(magic)) this.#expect(0, 4, () => this.#expect(this.#header.readUInt32LE(), 0));
    else if (magic === ZSTD) this.#expect(0, 1, () => this.#descriptor());
    else throw malformed('what follows a zstd frame is not another frame');
  }

  #descriptor(): void {
    const descriptor = this.#header.readUInt8();
    const isSingle = (descriptor & 0x20) !== 0;
    this.#hasChecksum = (descriptor & 4) !== 0;
    const before = (isSingle ? 0 : 1) + ([0, 1, 2, 4][descriptor & 3] as number);
    const length = [isSingle ? 1 : 0, 2, 4, 8][descriptor >> 6] as number;
    this.#expect(0, before + length, () => {
      this.#contentSize = readContentSize(this.#header.subarray(before, before + length));
      this.#expect(0, 3, () => this.#block());
    });
  }

  #block(): void {
    const header = this.#header.readUIntLE(0, 3);
    const isRepeated = ((header >> 1) & 3) === 1;
    const length = isRepeated ? 1 : header >> 3;
    if ((header & 1) === 0) this.#expect(length, 3, () => this.#block());
    else this.#expect(length + (this.#hasChecksum ? 4 : 0), 0);
  }
}

/** RFC 8878, 3.1.1.1.4. Undefined if the field is absent, or too large for any file. */
function readContentSize(field: Buffer): number | undefined {
  if (field.length === 0) return undefined;
  if (field.length === 2) return field.readUInt16LE() + 256;
  const size = field.length === 8 ? Number(field.readBigUInt64LE()) : field.readUIntLE(0, field.length);
  return Number.isSafeInteger(size) ? size : undefined;
}
