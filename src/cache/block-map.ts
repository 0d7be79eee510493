/**
 * Which blocks of a cached image are present, and the checksum of each.
 *
 * On disk it is one word of four bytes a block: 0 if the block is absent, else the CRC-32 of its bytes. A word is written
 * whole, so two processes that mark neighbouring blocks never overwrite each other, and only after its block was written.
 * Written data survives the death of a process, so the map is right after a kill -9. After a crash of the machine, or after
 * someone cut, emptied or replaced the data file, a word may describe bytes that are not there. Such bytes do not have its
 * checksum, so the block counts as absent (src/cache/entry.ts). So nothing has to be synced.
 *
 * Other processes mark and clear blocks in the file. {@link BlockMap.refresh} reads their changes into memory.
 */
import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  openSync,
  readSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { crc32 } from 'node:zlib';

/** Bytes of a block: the unit of presence. Half of the largest read the kernel sends, so little is fetched unasked. */
export const BLOCK_SIZE = 64 * 1024;

const HEADER_SIZE = 64;
const WORD = Uint32Array.BYTES_PER_ELEMENT;

/** Format and image size. The words are in the machine's own byte order: no other machine reads them. */
function header(size: number): Buffer {
  const bytes = Buffer.alloc(HEADER_SIZE);
  bytes.write(`sregmap2 ${size}`, 'latin1');
  return bytes;
}

/** Block numbers of the bytes `offset..offset+length`, both inclusive. */
export function blocksOf(offset: number, length: number): BlockRange {
  return {
    first: Math.floor(offset / BLOCK_SIZE),
    last: Math.floor((offset + Math.max(1, length) - 1) / BLOCK_SIZE),
  };
}

/** CRC-32 of bytes that follow those with checksum `before`. */
export function checksum(bytes: Uint8Array, before = 0): number {
  return crc32(bytes, before);
}

/** The map's word for a block that is present. 0 means absent, so the rare checksum 0 is written as 1. */
function wordOf(sum: number): number {
  return sum === 0 ? 1 : sum;
}

/** Blocks from `first` to `last`, both inclusive. */
export interface BlockRange {
  readonly first: number;
  readonly last: number;
}

export class BlockMap {
  /** How many blocks the image has; the last one may be short. */
  readonly blocks: number;
  readonly #words: Uint32Array;
  readonly #fd: number;
  #present = 0;
  #completedBy: BlockRange | undefined;

  private constructor(fd: number, size: number) {
    this.#fd = fd;
    this.blocks = blockCount(size);
    this.#words = new Uint32Array(this.blocks);
    this.refresh();
  }

  /** Writes a map of no blocks, as a file with holes. */
  static create(path: string, size: number): void {
    const fd = openSync(path, 'wx', 0o600);
    try {
      writeSync(fd, header(size));
      ftruncateSync(fd, mapSize(size));
    } finally {
      closeSync(fd);
    }
  }

  /** Writes the map of an image that is whole, from the checksums of its blocks. */
  static createWhole(path: string, size: number, sums: readonly number[]): void {
    const words = Uint32Array.from(sums, wordOf);
    writeFileSync(path, Buffer.concat([header(size), bytesOf(words)]), { flag: 'wx', mode: 0o600 });
  }

  /** Opens a map. Undefined if the file is not the map of an image of this size. */
  static open(path: string, size: number): BlockMap | undefined {
    const fd = openSync(path, constants.O_RDWR | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const stats = fstatSync(fd);
      if (stats.isFile() && stats.size === mapSize(size)) {
        const found = Buffer.alloc(HEADER_SIZE);
        readSync(fd, found, 0, HEADER_SIZE, 0);
        if (found.equals(header(size))) return new BlockMap(fd, size);
      }
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    closeSync(fd);
    return undefined;
  }

  /** Blocks present, as of the last look at the file. */
  get present(): number {
    return this.#present;
  }

  get complete(): boolean {
    return this.#present === this.blocks;
  }

  /** The blocks that made the map complete, as this process saw it; undefined while it is not. */
  get completedBy(): BlockRange | undefined {
    return this.complete ? this.#completedBy : undefined;
  }

  has(block: number): boolean {
    return this.#words[block] !== 0;
  }

  hasAll(first: number, last: number): boolean {
    return this.firstAbsent(first, last) === undefined;
  }

  /** Is this block present, with this checksum? */
  matches(block: number, sum: number): boolean {
    return this.#words[block] === wordOf(sum);
  }

  /** The first absent block in `from..last`, or undefined. */
  firstAbsent(from: number, last: number): number | undefined {
    for (let block = from; block <= last; block += 1) if (this.#words[block] === 0) return block;
    return undefined;
  }

  countAbsent(first: number, last: number): number {
    let absent = 0;
    for (let block = first; block <= last; block += 1) if (this.#words[block] === 0) absent += 1;
    return absent;
  }

  /** Marks blocks from `first` on, whose bytes are in the data file, by their checksums. */
  mark(first: number, sums: readonly number[]): void {
    this.#write(first, Uint32Array.from(sums, wordOf));
  }

  /** Forgets blocks whose bytes turned out not to be there. */
  clear(first: number, last: number): void {
    this.#write(first, new Uint32Array(last - first + 1));
  }

  /** Learns what other processes have marked or cleared in `first..last`. */
  refresh(first = 0, last = this.blocks - 1): void {
    const words = new Uint32Array(last - first + 1);
    const bytes = bytesOf(words);
    readSync(this.#fd, bytes, 0, bytes.length, HEADER_SIZE + first * WORD);
    this.#adopt(first, words);
  }

  close(): void {
    closeSync(this.#fd);
  }

  #write(first: number, words: Uint32Array): void {
    const bytes = bytesOf(words);
    writeSync(this.#fd, bytes, 0, bytes.length, HEADER_SIZE + first * WORD);
    this.#adopt(first, words);
  }

  #adopt(first: number, words: Uint32Array): void {
    const wasComplete = this.complete;
    let gained: BlockRange | undefined;
    for (const [index, word] of words.entries()) {
      const block = first + index;
      const had = this.#words[block] !== 0;
      this.#words[block] = word;
      if (had === (word !== 0)) continue;
      this.#present += had ? -1 : 1;
      if (!had) gained = { first: gained?.first ?? block, last: block };
    }
    if (this.complete && !wasComplete) this.#completedBy = gained;
  }
}

function blockCount(size: number): number {
  return Math.ceil(size / BLOCK_SIZE);
}

function mapSize(size: number): number {
  return HEADER_SIZE + blockCount(size) * WORD;
}

function bytesOf(words: Uint32Array): Buffer {
  return Buffer.from(words.buffer, words.byteOffset, words.byteLength);
}
