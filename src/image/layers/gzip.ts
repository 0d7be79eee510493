/**
 * Walks a gzip file (RFC 1952) of any number of members, and tells at which places decompression can begin: the beginning of
 * each member, and each block in it. Where zlib sees the end of the file, so does this: at a zero behind a member.
 */
import { malformed } from '../binary.ts';
import { DeflateScanner, STEP_SIZE } from './deflate.ts';

const HEADER_SIZE = 10;
const TRAILER_SIZE = 8;
/** Flags of a header: RFC 1952, 2.3.1. */
const HAS_CHECKSUM = 2;
const HAS_EXTRA = 4;
const HAS_NAME = 8;
const HAS_COMMENT = 16;
const RESERVED = 0xe0;

/** A place in a gzip file at which decompression can begin. */
export interface GzipPlace {
  /**
   * At `member`, a header begins. At `block`, a block of DEFLATE begins; the 32 KiB before it may be needed.
   */
  readonly kind: 'member' | 'block';
  /** The byte of the file in which it lies, the bit of the byte (0 to 7), and the byte's value. */
  readonly at: number;
  readonly bit: number;
  readonly byte: number;
  /** Bytes of the archive before it. */
  readonly offset: number;
}

type State = 'header' | 'extra-size' | 'extra' | 'text' | 'checksum' | 'data' | 'trailer' | 'rest';

export class GzipScanner {
  readonly #onPlace: (place: GzipPlace) => void;
  readonly #deflate = new DeflateScanner();
  #state: State = 'header';
  #flags = 0;
  /** Bytes of an extra field that are to come. */
  #extra = 0;
  /** What a step could not take yet, and where in the file it is. */
  #tail: Uint8Array = new Uint8Array(0);
  #position = 0;
  /** Bytes of the archive before the present member. */
  #before = 0;
  #end = 0;

  constructor(onPlace: (place: GzipPlace) => void) {
    this.#onPlace = onPlace;
  }

  /** Bytes of the archive so far. */
  get size(): number {
    return this.#deflate.size;
  }

  /** Bytes of the file up to the end of the last member. */
  get compressedSize(): number {
    return this.#end;
  }

  /** Takes the next bytes of the file. @throws {SregistryError} NOT_AN_IMAGE if it is malformed. */
  push(chunk: Uint8Array): void {
    const bytes = Buffer.concat([this.#tail, chunk]);
    let at = 0;
    while (bytes.length - at >= STEP_SIZE) at = this.#step(bytes, at);
    this.#keep(bytes.subarray(at), at);
  }

  /** The file ends. @throws {SregistryError} NOT_AN_IMAGE if it ends too early. */
  end(): void {
    const { length } = this.#tail;
    // A step finds enough bytes, and shows by passing the end that there were too few.
    const bytes = Buffer.concat([this.#tail, Buffer.alloc(STEP_SIZE)]);
    let at = 0;
    while (at < length) at = this.#step(bytes, at);
    const isEnd = this.#state === 'rest' || (this.#state === 'header' && at === length);
    if (!isEnd || this.#position + at === 0) throw malformed('the gzip file ends too early');
  }

  #keep(tail: Uint8Array, passed: number): void {
    this.#tail = tail;
    this.#position += passed;
  }

  /** Takes what comes next from `bytes[at]` on. Returns where it ends. */
  #step(bytes: Buffer, at: number): number {
    switch (this.#state) {
      case 'header':
        return this.#header(bytes, at);
      case 'extra-size':
        this.#extra = bytes.readUInt16LE(at);
        this.#state = 'extra';
        return at + 2;
      case 'extra':
        return this.#passExtra(bytes, at);
      case 'text':
        return this.#passText(bytes, at);
      case 'checksum':
        this.#next();
        return at + 2;
      case 'data':
        return this.#data(bytes, at);
      case 'trailer':
        return this.#trailer(bytes, at);
      case 'rest':
        return bytes.length;
    }
  }

  #header(bytes: Buffer, at: number): number {
    const isFirst = this.#position + at === 0;
    if (!isFirst && bytes[at] === 0) {
      this.#state = 'rest';
      return at;
    }
    if (bytes.readUInt16LE(at) !== 0x8b1f || bytes[at + 2] !== 8)
      throw malformed('a gzip header is malformed');
    this.#flags = bytes[at + 3] as number;
    if ((this.#flags & RESERVED) !== 0) throw malformed('a gzip header has unknown flags');
    this.#before = this.size;
    this.#place('member', bytes, at, 0);
    this.#next();
    return at + HEADER_SIZE;
  }

  /** What follows in the header. */
  #next(): void {
    const has = (flag: number) => {
      const isSet = (this.#flags & flag) !== 0;
      this.#flags &= ~flag;
      return isSet;
    };
    if (has(HAS_EXTRA)) this.#state = 'extra-size';
    else if (has(HAS_NAME) || has(HAS_COMMENT)) this.#state = 'text';
    else if (has(HAS_CHECKSUM)) this.#state = 'checksum';
    else {
      this.#state = 'data';
      this.#deflate.reset();
    }
  }

  #passExtra(bytes: Buffer, at: number): number {
    const passed = Math.min(this.#extra, bytes.length - at);
    this.#extra -= passed;
    if (this.#extra === 0) this.#next();
    return at + passed;
  }

  #passText(bytes: Buffer, at: number): number {
    const end = bytes.indexOf(0, at);
    if (end < 0) return bytes.length;
    this.#next();
    return end + 1;
  }

  #data(bytes: Buffer, at: number): number {
    const next = this.#deflate.take(bytes, at);
    if (this.#deflate.isDone) this.#state = 'trailer';
    else if (this.#deflate.isBetweenBlocks) {
      this.#place('block', bytes, next, this.#deflate.bit);
    }
    return next;
  }

  #place(kind: GzipPlace['kind'], bytes: Buffer, at: number, bit: number): void {
    const byte = bytes[at] as number;
    this.#onPlace({ kind, at: this.#position + at, bit, byte, offset: this.size });
  }

  #trailer(bytes: Buffer, at: number): number {
    // The size of the member, but for multiples of 4 GiB.
    const size = (this.size - this.#before) % 2 ** 32;
    if (bytes.readUInt32LE(at + 4) !== size) throw malformed('a gzip member has another size than it says');
    this.#state = 'header';
    this.#end = this.#position + at + TRAILER_SIZE;
    return at + TRAILER_SIZE;
  }
}
