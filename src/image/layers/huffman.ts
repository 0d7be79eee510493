/**
 * Canonical Huffman codes of DEFLATE (RFC 1951, 3.2.2) as tables. The next {@link ROOT_BITS} bits of the input are an index into
 * the table. Longer codes, which are rare, continue in tables behind it.
 *
 * An entry is one number: its lowest four bits are the length of the code, and the symbol follows. The entry of a longer code
 * has {@link IS_LINK} instead of a symbol, and says where its own table begins. Entries that no code has are 0.
 */
import { malformed } from '../binary.ts';

/** Bits that the first table decodes: most codes, in a table that stays in the processor's cache. */
export const ROOT_BITS = 10;
/** The longest code. */
const MAX_BITS = 15;

export const IS_LINK = 1 << 30;

/** Entries of the largest table: a second one for each entry of the first. */
const MAX_ENTRIES = (1 << ROOT_BITS) + (1 << MAX_BITS);

/** A table that is filled again for each block, so that blocks cost no memory. */
export class HuffmanTable {
  readonly entries = new Int32Array(MAX_ENTRIES);
  readonly #counts = new Int32Array(MAX_BITS + 1);
  readonly #next = new Int32Array(MAX_BITS + 1);

  /**
   * Makes the table of the codes with these lengths, in bits; 0: the symbol has no code. As in zlib, a lonely code may be
   * incomplete.
   * @throws {SregistryError} NOT_AN_IMAGE if the lengths make no code.
   */
  build(lengths: Uint8Array, what: string): void {
    this.#count(lengths, what);
    const entries = this.entries.fill(0, 0, 1 << ROOT_BITS);
    let free = 1 << ROOT_BITS;
    for (let symbol = 0; symbol < lengths.length; symbol += 1) {
      const length = lengths[symbol] as number;
      if (length === 0) continue;
      const code = reversed(this.#next[length] as number, length);
      this.#next[length] = (this.#next[length] as number) + 1;
      const entry = (symbol << 4) | length;
      if (length <= ROOT_BITS) {
        for (let at = code; at < 1 << ROOT_BITS; at += 1 << length) entries[at] = entry;
        continue;
      }
      const root = code & ((1 << ROOT_BITS) - 1);
      if (entries[root] === 0) {
        entries[root] = IS_LINK | free;
        entries.fill(0, free, free + (1 << (MAX_BITS - ROOT_BITS)));
        free += 1 << (MAX_BITS - ROOT_BITS);
      }
      const table = (entries[root] as number) & ~IS_LINK;
      const step = 1 << (length - ROOT_BITS);
      for (let at = code >> ROOT_BITS; at < 1 << (MAX_BITS - ROOT_BITS); at += step)
        entries[table + at] = entry;
    }
  }

  /** Sets the first code of each length. */
  #count(lengths: Uint8Array, what: string): void {
    const counts = this.#counts.fill(0);
    for (const length of lengths) counts[length] = (counts[length] as number) + 1;
    const codes = lengths.length - (counts[0] as number);
    let [code, left] = [0, 1];
    for (let length = 1; length <= MAX_BITS; length += 1) {
      const count = counts[length] as number;
      this.#next[length] = code;
      code = (code + count) << 1;
      left = left * 2 - count;
      if (left < 0) throw malformed(`a block has too many ${what} codes`);
    }
    const isLonely = codes === 0 || (codes === 1 && counts[1] === 1);
    if (left > 0 && !isLonely) throw malformed(`a block lacks ${what} codes`);
  }
}

function reversed(code: number, length: number): number {
  let bits = 0;
  for (let i = 0; i < length; i += 1) bits |= ((code >> i) & 1) << (length - 1 - i);
  return bits;
}
