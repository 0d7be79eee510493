/**
 * Walks the blocks of a DEFLATE stream (RFC 1951) and tells where each begins, in bits of the compressed data and in bytes of
 * what it holds. zlib knows this as well, but Node's does not tell.
 *
 * It decodes symbols only to count the bytes that they stand for, so it needs no memory of these bytes. The bytes come in chunks
 * of any size. What a step might need more than a chunk has is kept for the next chunk.
 */
import { malformed } from '../binary.ts';
import { HuffmanTable, IS_LINK, ROOT_BITS } from './huffman.ts';

/** Bytes that one step may need: the codes of a dynamic block take at most 4,500 bits. */
export const STEP_SIZE = 1024;
/** Bytes that a literal, or a length with its distance, may need, with what is read ahead of them. */
const SYMBOL_SIZE = 12;

const ROOT_MASK = (1 << ROOT_BITS) - 1;
const END_OF_BLOCK = 256;
const MAX_LITERALS = 286;
const MAX_DISTANCES = 30;
/** RFC 1951, 3.2.7: the order in which the lengths of the codes of lengths are stored. */
export const ORDER: readonly number[] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/** RFC 1951, 3.2.5: the symbols from 257 on as the shortest length, and the number of bits that are added to it. */
const LENGTHS = Int32Array.of(
  ...[3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163],
  ...[195, 227, 258],
);
const LENGTH_BITS = Int32Array.of(
  ...[0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0],
);

/** RFC 1951, 3.2.6. */
const FIXED_LITERALS = new Uint8Array(288).fill(8, 0, 144).fill(9, 144, 256).fill(7, 256, 280).fill(8, 280);
const FIXED_DISTANCES = new Uint8Array(32).fill(5);

type State = 'block' | 'stored' | 'symbols' | 'end';

export class DeflateScanner {
  /** Bytes that the blocks so far stand for. */
  size = 0;
  #state: State = 'block';
  #isLast = false;
  /** Bytes of the stored block that are to come. */
  #stored = 0;
  /** Where the next step begins: a byte of the present chunk, and a bit of it. */
  #at = 0;
  #bit = 0;
  readonly #literals = new HuffmanTable();
  readonly #distances = new HuffmanTable();
  readonly #lengths = new HuffmanTable();

  /** Has the last block ended? */
  get isDone(): boolean {
    return this.#state === 'end';
  }

  /** The bit of the next byte at which the next block begins. */
  get bit(): number {
    return this.#bit;
  }

  /** Begins another stream. `size` goes on counting. */
  reset(): void {
    this.#state = 'block';
    this.#bit = 0;
  }

  /**
   * Takes bytes from `bytes[from]` on, up to the end of a block or as many as it can. Returns the index of the first byte that
   * it needs again. It takes nothing if it needs more than there are: {@link STEP_SIZE} are enough.
   * @throws {SregistryError} NOT_AN_IMAGE if the data is malformed.
   */
  take(bytes: Uint8Array, from: number): number {
    this.#at = from;
    switch (this.#state) {
      case 'block':
        if (bytes.length - from >= STEP_SIZE) this.#block(bytes);
        break;
      case 'stored':
        this.#pass(bytes);
        break;
      case 'symbols':
        this.#symbols(bytes);
        break;
    }
    return this.#at;
  }

  /** Is a block complete, and the next one, or the end of the stream, at `bit` of the next byte? */
  get isBetweenBlocks(): boolean {
    return this.#state === 'block' || this.#state === 'end';
  }

  #bits(bytes: Uint8Array, count: number): number {
    const [at, bit] = [this.#at, this.#bit];
    const three =
      (bytes[at] as number) | ((bytes[at + 1] as number) << 8) | ((bytes[at + 2] as number) << 16);
    this.#at = at + ((bit + count) >> 3);
    this.#bit = (bit + count) & 7;
    return (three >> bit) & ((1 << count) - 1);
  }

  #block(bytes: Uint8Array): void {
    this.#isLast = this.#bits(bytes, 1) === 1;
    switch (this.#bits(bytes, 2)) {
      case 0:
        this.#beginStored(bytes);
        break;
      case 1:
        this.#literals.build(FIXED_LITERALS, 'literal');
        this.#distances.build(FIXED_DISTANCES, 'distance');
        this.#state = 'symbols';
        break;
      case 2:
        this.#readCodes(bytes);
        this.#state = 'symbols';
        break;
      default:
        throw malformed('a block has no known type');
    }
  }

  #endBlock(): void {
    this.#state = this.#isLast ? 'end' : 'block';
    if (this.#isLast && this.#bit > 0) {
      this.#bit = 0;
      this.#at += 1;
    }
  }

  #beginStored(bytes: Uint8Array): void {
    if (this.#bit > 0) this.#at += 1;
    this.#bit = 0;
    const [length, complement] = [this.#bits(bytes, 16), this.#bits(bytes, 16)];
    if ((length ^ complement) !== 0xffff) throw malformed('a stored block gives two lengths');
    this.#stored = length;
    this.#state = 'stored';
    this.#pass(bytes);
  }

  #pass(bytes: Uint8Array): void {
    const passed = Math.min(this.#stored, bytes.length - this.#at);
    this.#stored -= passed;
    this.#at += passed;
    this.size += passed;
    if (this.#stored === 0) this.#endBlock();
  }

  /** RFC 1951, 3.2.7. */
  #readCodes(bytes: Uint8Array): void {
    const literals = this.#bits(bytes, 5) + 257;
    const distances = this.#bits(bytes, 5) + 1;
    const count = this.#bits(bytes, 4) + 4;
    if (literals > MAX_LITERALS || distances > MAX_DISTANCES)
      throw malformed('a block has too many length or distance symbols');
    const first = new Uint8Array(ORDER.length);
    for (let i = 0; i < count; i += 1) first[ORDER[i] as number] = this.#bits(bytes, 3);
    this.#lengths.build(first, 'length');
    const lengths = new Uint8Array(literals + distances);
    for (let i = 0; i < lengths.length; ) {
      const symbol = this.#lengthSymbol(bytes);
      if (symbol < 16) {
        lengths[i] = symbol;
        i += 1;
        continue;
      }
      if (symbol === 16 && i === 0) throw malformed('a block repeats a length before the first');
      const value = symbol === 16 ? (lengths[i - 1] as number) : 0;
      const [least, bits] = [symbol === 18 ? 11 : 3, [2, 3, 7][symbol - 16] as number];
      const end = i + least + this.#bits(bytes, bits);
      if (end > lengths.length) throw malformed('a block has more lengths than symbols');
      lengths.fill(value, i, end);
      i = end;
    }
    if (lengths[END_OF_BLOCK] === 0) throw malformed('a block has no end');
    this.#literals.build(lengths.subarray(0, literals), 'literal');
    this.#distances.build(lengths.subarray(literals), 'distance');
  }

  #lengthSymbol(bytes: Uint8Array): number {
    const two = (bytes[this.#at] as number) | ((bytes[this.#at + 1] as number) << 8);
    // These codes have at most seven bits.
    const entry = this.#lengths.entries[(two >> this.#bit) & 0x7f] as number;
    if (entry === 0) throw malformed('a block uses a length code that it does not have');
    this.#bits(bytes, entry & 15);
    return entry >> 4;
  }

  /** Counts what symbols stand for. The loop that all time goes into: it keeps its state in local variables. */
  #symbols(bytes: Uint8Array): void {
    const limit = bytes.length - SYMBOL_SIZE;
    let at = this.#at;
    if (at >= limit) return;
    const [literals, distances] = [this.#literals.entries, this.#distances.entries];
    let size = 0;
    let hold = (bytes[at] as number) >> this.#bit;
    let held = 8 - this.#bit;
    at += 1;
    let isEnd = false;
    while (at < limit) {
      while (held <= 24) {
        hold |= (bytes[at] as number) << held;
        at += 1;
        held += 8;
      }
      let entry = literals[hold & ROOT_MASK] as number;
      if (entry >= IS_LINK) entry = literals[(entry & ~IS_LINK) + ((hold >>> ROOT_BITS) & 31)] as number;
      let used = entry & 15;
      if (used === 0) throw malformed('a block uses a code that it does not have');
      hold >>>= used;
      held -= used;
      const symbol = entry >> 4;
      if (symbol < END_OF_BLOCK) {
        size += 1;
        continue;
      }
      if (symbol === END_OF_BLOCK) {
        isEnd = true;
        break;
      }
      if (symbol >= MAX_LITERALS) throw malformed('a block uses a length that does not exist');
      const extra = LENGTH_BITS[symbol - 257] as number;
      size += (LENGTHS[symbol - 257] as number) + (hold & ((1 << extra) - 1));
      hold >>>= extra;
      held -= extra;
      while (held <= 24) {
        hold |= (bytes[at] as number) << held;
        at += 1;
        held += 8;
      }
      entry = distances[hold & ROOT_MASK] as number;
      if (entry >= IS_LINK) entry = distances[(entry & ~IS_LINK) + ((hold >>> ROOT_BITS) & 31)] as number;
      used = entry & 15;
      if (used === 0) throw malformed('a block uses a code that it does not have');
      const distance = entry >> 4;
      if (distance >= MAX_DISTANCES) throw malformed('a block uses a distance that does not exist');
      // How far back it is does not matter, only how many bits say so: none for the first four, then one more for every two.
      const more = distance < 4 ? 0 : (distance >> 1) - 1;
      hold >>>= used;
      held -= used;
      if (held < more) {
        // At most 13 bits are missing.
        hold = (bytes[at] as number) | ((bytes[at + 1] as number) << 8);
        at += 2;
        hold >>>= more - held;
        held += 16 - more;
      } else {
        hold >>>= more;
        held -= more;
      }
    }
    // Bits that were read ahead go back.
    this.#at = at - (held >> 3) - ((held & 7) > 0 ? 1 : 0);
    this.#bit = (8 - (held & 7)) & 7;
    this.size += size;
    if (isEnd) this.#endBlock();
  }
}
