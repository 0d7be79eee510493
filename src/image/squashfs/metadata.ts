/**
 * Metadata blocks: inodes, directories and the fragment table are streams cut into blocks of 8 KiB, each compressed by
 * itself and preceded by 16 bits, its size and whether it is stored as it is. A place in such a stream is the
 * position of a block in the file and an offset in the block once decompressed.
 */
import { LRUCache } from 'lru-cache';
import { Fields, malformed } from '../binary.ts';
import { type ByteSource, readExactly } from '../source.ts';
import { decompress } from './codec.ts';
import type { Compressor } from './superblock.ts';

export const METADATA_SIZE = 8192;
/** The bit of a metadata block's size for a block that is stored uncompressed. */
export const STORED_METADATA = 0x8000;
/** Blocks to keep: 1 MiB decompressed. */
const CACHED_BLOCKS = 128;

interface Block {
  readonly data: Uint8Array;
  /** Position of the block behind it. */
  readonly next: number;
}

export class MetadataReader {
  readonly #source: ByteSource;
  readonly #compressor: Compressor;
  readonly #blocks = new LRUCache<number, Block>({ max: CACHED_BLOCKS });

  constructor(source: ByteSource, compressor: Compressor) {
    this.#source = source;
    this.#compressor = compressor;
  }

  /** A cursor at `offset` in the block at `position` of the file. */
  cursor(position: number, offset: number): MetadataCursor {
    return new MetadataCursor((at) => this.#block(at), position, offset);
  }

  async #block(position: number): Promise<Block> {
    const cached = this.#blocks.get(position);
    if (cached !== undefined) return cached;
    const head = await readExactly(this.#source, position, 2, 'a SquashFS metadata block');
    const header = new Fields(head, 'SquashFS metadata block').u16(0);
    const size = header & ~STORED_METADATA;
    if (size === 0 || size > METADATA_SIZE)
      throw malformed(`A SquashFS metadata block at ${position} claims ${size} bytes`);
    const stored = await readExactly(this.#source, position + 2, size, 'a SquashFS metadata block');
    const data =
      (header & STORED_METADATA) === 0 ? await decompress(this.#compressor, stored, METADATA_SIZE) : stored;
    if (data.length === 0) throw malformed(`A SquashFS metadata block at ${position} is empty`);
    const block = { data, next: position + 2 + size };
    this.#blocks.set(position, block);
    return block;
  }
}

/** Reads forward through the blocks. */
export class MetadataCursor {
  readonly #load: (position: number) => Promise<Block>;
  #position: number;
  #offset: number;

  constructor(load: (position: number) => Promise<Block>, position: number, offset: number) {
    this.#load = load;
    this.#position = position;
    this.#offset = offset;
  }

  /** The next `length` bytes. @throws {SregistryError} if they are not there. */
  async read(length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(length);
    for (let done = 0; done < length; ) {
      const { data, next } = await this.#load(this.#position);
      const part = data.subarray(this.#offset, this.#offset + length - done);
      bytes.set(part, done);
      done += part.length;
      this.#offset += part.length;
      if (this.#offset < data.length) continue;
      // An offset behind the end of its block skips into the next one, as in the kernel.
      this.#offset -= data.length;
      this.#position = next;
    }
    return bytes;
  }

  async fields(length: number, what: string): Promise<Fields> {
    return new Fields(await this.read(length), what);
  }
}
