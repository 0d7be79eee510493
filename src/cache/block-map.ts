/**
 * Which blocks of a cached image are present, in memory and on disk.
 *
 * On disk it is one byte a block (not a bit), so that two processes that mark neighbouring blocks never overwrite each
 * other: a byte is written whole. A byte is set only after its block was written, and written data survives the death of
 * a process, so the map is right after a kill -9. It does not survive the machine: the map names the boot it belongs to,
 * and after another boot `durable` counts instead, a copy taken when the data had been synced.
 */
import {
  closeSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { systemCode } from '../base/errors.ts';
import { bootId } from '../base/process.ts';

/** Bytes of a block: the unit of presence. Half of the largest read the kernel sends, so little is fetched unasked. */
export const BLOCK_SIZE = 64 * 1024;

const HEADER_SIZE = 64;
const MAGIC = 'sregmap1';

function header(): Buffer {
  const bytes = Buffer.alloc(HEADER_SIZE);
  bytes.write(`${MAGIC} ${bootId()}`, 'latin1');
  return bytes;
}

/** Block numbers of the bytes `offset..offset+length`, both inclusive. */
export function blocksOf(offset: number, length: number): { first: number; last: number } {
  return {
    first: Math.floor(offset / BLOCK_SIZE),
    last: Math.floor((offset + Math.max(1, length) - 1) / BLOCK_SIZE),
  };
}

export class BlockMap {
  /** How many blocks the image has; the last one may be short. */
  readonly blocks: number;
  readonly #folder: string;
  readonly #map: Uint8Array;
  readonly #fd: number;
  #present = 0;
  #dirty = false;

  constructor(folder: string, size: number) {
    this.#folder = folder;
    this.blocks = Math.ceil(size / BLOCK_SIZE);
    const saved = this.#load('present', header()) ?? this.#load('durable');
    const path = join(folder, 'present');
    if (this.#load('present', header()) === undefined) this.#write(path, saved ?? Buffer.alloc(this.blocks));
    this.#map = saved ?? new Uint8Array(this.blocks);
    this.#fd = openSync(path, 'r+');
    for (const byte of this.#map) this.#present += byte === 1 ? 1 : 0;
  }

  /** Writes the maps of an image that is whole, in a folder nobody has open. */
  static writeWhole(folder: string, size: number): void {
    const bytes = Buffer.concat([header(), Buffer.alloc(Math.ceil(size / BLOCK_SIZE), 1)]);
    for (const name of ['present', 'durable']) writeFileSync(join(folder, name), bytes, { flush: true });
  }

  /** Blocks present, as far as this process has seen. */
  get present(): number {
    return this.#present;
  }

  get complete(): boolean {
    return this.#present === this.blocks;
  }

  has(block: number): boolean {
    return this.#map[block] === 1;
  }

  hasAll(first: number, last: number): boolean {
    for (let block = first; block <= last; block += 1) if (this.#map[block] !== 1) return false;
    return true;
  }

  /** The first absent block in `from..last`, or undefined. */
  firstAbsent(from: number, last: number): number | undefined {
    const found = this.#map.indexOf(0, from);
    return found === -1 || found > last ? undefined : found;
  }

  /** Marks blocks whose bytes are in the data file. */
  mark(first: number, last: number): void {
    const ones = Buffer.alloc(last - first + 1, 1);
    writeSync(this.#fd, ones, 0, ones.length, HEADER_SIZE + first);
    this.#merge(first, ones);
    this.#dirty = true;
  }

  /** Forgets blocks whose bytes turned out not to be there. */
  clear(first: number, last: number): void {
    const zeros = Buffer.alloc(last - first + 1);
    writeSync(this.#fd, zeros, 0, zeros.length, HEADER_SIZE + first);
    for (let block = first; block <= last; block += 1) {
      if (this.#map[block] === 1) this.#present -= 1;
      this.#map[block] = 0;
    }
  }

  /** Learns what other processes have marked in `first..last`. */
  refresh(first: number, last: number): void {
    const bytes = Buffer.alloc(last - first + 1);
    const read = readSync(this.#fd, bytes, 0, bytes.length, HEADER_SIZE + first);
    this.#merge(first, bytes.subarray(0, read));
  }

  /** Keeps what is present for the next boot. The caller has synced the data. */
  saveDurable(): void {
    if (!this.#dirty) return;
    this.refresh(0, this.blocks - 1);
    this.#write(join(this.#folder, 'durable'), this.#map);
    this.#dirty = false;
  }

  close(): void {
    closeSync(this.#fd);
  }

  #merge(first: number, bytes: Uint8Array): void {
    for (const [index, byte] of bytes.entries()) {
      if (byte !== 1 || this.#map[first + index] === 1) continue;
      this.#map[first + index] = 1;
      this.#present += 1;
    }
  }

  /** Blocks from a map file of the right length, and of this boot when `expected` is given. */
  #load(name: string, expected?: Buffer): Uint8Array | undefined {
    const path = join(this.#folder, name);
    try {
      if (statSync(path).size !== HEADER_SIZE + this.blocks) return undefined;
      const bytes = readFileSync(path);
      const known = expected === undefined ? bytes.toString('latin1', 0, MAGIC.length) === MAGIC : undefined;
      if (known === false || (expected && !bytes.subarray(0, HEADER_SIZE).equals(expected))) return undefined;
      return new Uint8Array(bytes.subarray(HEADER_SIZE));
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  #write(path: string, map: Uint8Array): void {
    const temporary = `${path}.${process.pid}.tmp`;
    writeFileSync(temporary, Buffer.concat([header(), map]), { flush: true });
    renameSync(temporary, path);
  }
}
