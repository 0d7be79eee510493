/** Maps of sparse files: GNU's own in the header, and the three that GNU tar writes as pax records (GNU tar manual, "Storing Sparse Files"). */
import { malformed } from '../binary.ts';
import type { SparseRange } from './entry.ts';
import { BLOCK, parseNumber, type Where } from './tar-header.ts';

/** Bytes of an offset and of a length in GNU's own map. */
const FIELD = 12;
const RANGES_IN_HEADER = 4;
const RANGES_IN_EXTENSION = 21;

/** Bytes of memory that a range takes. */
const RANGE_COST = 64;

/** Collects ranges and holds them to the rules: sorted, apart, within the file. */
export class SparseMap {
  readonly #where: Where;
  readonly #count: (bytes: number) => void;
  readonly #ranges: SparseRange[] = [];
  #end = 0;
  #stored = 0;

  /** @param count is told of the memory that ranges take, which is many times what they take in the archive. */
  constructor(where: Where, count: (bytes: number) => void) {
    this.#where = where;
    this.#count = count;
  }

  add(at: number, length: number): void {
    if (!Number.isSafeInteger(at + length) || at < this.#end || length < 0)
      throw malformed(`${this.#where()} has a map of a sparse file that is not in order`);
    this.#end = at + length;
    this.#stored += length;
    // GNU tar marks the end of the file with an empty range.
    if (length === 0) return;
    this.#count(RANGE_COST);
    this.#ranges.push([at, length]);
  }

  /** @param size of the file. @param stored bytes that the archive has of it. */
  finish(size: number, stored: number): readonly SparseRange[] {
    if (this.#end > size || this.#stored !== stored)
      throw malformed(`${this.#where()} has a map of a sparse file that does not fit the file`);
    return this.#ranges;
  }
}

/** GNU's own map as far as the header has it. Returns the file's size and whether blocks with more of it follow. */
export function readHeaderMap(block: Uint8Array, map: SparseMap, where: Where) {
  readRanges(block, 386, RANGES_IN_HEADER, map, where);
  const size = parseNumber(block, 483, FIELD, () => `${where()} gives an impossible size`);
  return { size, more: block[482] !== 0 };
}

/** A block with more of GNU's own map. Returns whether another follows. */
export function readExtension(block: Uint8Array, map: SparseMap, where: Where): boolean {
  readRanges(block, 0, RANGES_IN_EXTENSION, map, where);
  return block[504] !== 0;
}

function readRanges(block: Uint8Array, at: number, count: number, map: SparseMap, where: Where): void {
  const message = () => `${where()} has a damaged map of a sparse file`;
  for (let i = 0; i < count; i++) {
    const offset = at + i * 2 * FIELD;
    if (block[offset] === 0 || block[offset + FIELD] === 0) return;
    map.add(parseNumber(block, offset, FIELD, message), parseNumber(block, offset + FIELD, FIELD, message));
  }
}

/** The map of formats 0.0 and 0.1: numbers with commas between. */
export function readTextMap(text: string, map: SparseMap, where: Where): void {
  const numbers = text === '' ? [] : text.split(',');
  if (numbers.length % 2 !== 0) throw malformed(`${where()} has half a range in the map of a sparse file`);
  for (let i = 0; i < numbers.length; i += 2)
    map.add(decimal(numbers[i] as string, where), decimal(numbers[i + 1] as string, where));
}

/**
 * The map of format 1.0: lines of numbers in front of the data, how many ranges first, padded to whole blocks. They come
 * block by block; `take` returns true once the block was the last.
 */
export class LineMap {
  readonly #map: SparseMap;
  readonly #where: Where;
  #left: number | undefined;
  #at: number | undefined;
  #digits = '';

  constructor(map: SparseMap, where: Where) {
    this.#map = map;
    this.#where = where;
  }

  take(block: Buffer): boolean {
    const text = block.toString('latin1', 0, BLOCK);
    let from = 0;
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', from)) {
      this.#number(decimal(this.#digits + text.slice(from, end), this.#where));
      this.#digits = '';
      from = end + 1;
      if (this.#left === 0) return true;
    }
    this.#digits += text.slice(from);
    if (this.#digits.length > BLOCK) throw malformed(`${this.#where()} has a damaged map of a sparse file`);
    return false;
  }

  #number(value: number): void {
    if (this.#left === undefined) {
      this.#left = value;
    } else if (this.#at === undefined) {
      this.#at = value;
    } else {
      this.#map.add(this.#at, value);
      this.#at = undefined;
      this.#left -= 1;
    }
  }
}

function decimal(text: string, where: Where): number {
  const value = Number(text);
  if (!/^[0-9]{1,16}$/.test(text) || !Number.isSafeInteger(value))
    throw malformed(`${where()} has a damaged map of a sparse file`);
  return value;
}
