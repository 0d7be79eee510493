/** File contents: blocks of the superblock's size, then a tail in a fragment, a block shared by many small files. */
import { LRUCache } from 'lru-cache';
import { Fields, malformed } from '../binary.ts';
import { type ByteSource, readExactly } from '../source.ts';
import { decompress } from './codec.ts';
import type { FileInode } from './inode.ts';
import type { MetadataReader } from './metadata.ts';
import type { Superblock } from './superblock.ts';

/**
 * The bit of a size word for a block that is stored uncompressed. The rest of the word is the size on disk; 0 is a block of
 * zeros.
 */
export const STORED_BLOCK = 1 << 24;
const FRAGMENT_ENTRY_SIZE = 16;
/** Fragment entries in a metadata block. */
const ENTRIES_PER_BLOCK = 512;
/** Fragments to keep, of up to 1 MiB each. Small files that belong together share few. */
const CACHED_FRAGMENTS = 4;

export class DataReader {
  readonly #source: ByteSource;
  readonly #metadata: MetadataReader;
  readonly #superblock: Superblock;
  readonly #fragments = new LRUCache<number, Uint8Array>({ max: CACHED_FRAGMENTS });

  constructor(source: ByteSource, metadata: MetadataReader, superblock: Superblock) {
    this.#source = source;
    this.#metadata = metadata;
    this.#superblock = superblock;
  }

  /** The whole contents. @throws {SregistryError} NOT_AN_IMAGE if they are more than `limit` bytes. */
  async read(inode: FileInode, limit: number): Promise<Uint8Array> {
    if (inode.size > limit)
      throw malformed(`A file in the image has ${inode.size} bytes, more than the ${limit} that are read`);
    const { blockSize } = this.#superblock;
    const count =
      inode.fragment === undefined ? Math.ceil(inode.size / blockSize) : Math.floor(inode.size / blockSize);
    const words = await inode.blocks(count);
    const bytes = new Uint8Array(inode.size);
    let position = inode.start;
    for (let i = 0; i < count; i++) {
      const word = words.u32(i * 4);
      const wanted = Math.min(blockSize, inode.size - i * blockSize);
      const block = await this.#block(position, word, wanted);
      bytes.set(block, i * blockSize);
      position += sizeOf(word);
    }
    if (inode.fragment !== undefined) {
      const tail = await this.#tail(inode.fragment, inode.size - count * blockSize);
      bytes.set(tail, count * blockSize);
    }
    return bytes;
  }

  async #tail({ index, offset }: { index: number; offset: number }, length: number): Promise<Uint8Array> {
    const fragment = this.#fragments.get(index) ?? (await this.#fragment(index));
    this.#fragments.set(index, fragment);
    if (offset + length > fragment.length)
      throw malformed(`A file's tail lies outside SquashFS fragment ${index}`);
    return fragment.subarray(offset, offset + length);
  }

  async #fragment(index: number): Promise<Uint8Array> {
    const { fragmentTable, fragments } = this.#superblock;
    if (fragmentTable === undefined || index >= fragments)
      throw malformed(`There is no SquashFS fragment ${index}`);
    const what = 'SquashFS fragment table';
    const slot = fragmentTable + 8 * Math.floor(index / ENTRIES_PER_BLOCK);
    const pointer = new Fields(await readExactly(this.#source, slot, 8, `the ${what}`), what);
    const entry = await this.#metadata
      .cursor(pointer.size(0, 'position'), (index % ENTRIES_PER_BLOCK) * FRAGMENT_ENTRY_SIZE)
      .fields(FRAGMENT_ENTRY_SIZE, what);
    const word = entry.u32(8);
    if (sizeOf(word) === 0) throw malformed(`SquashFS fragment ${index} is empty`);
    return this.#stored(entry.size(0, 'position'), word);
  }

  /** One block of a file, of exactly `wanted` bytes. */
  async #block(position: number, word: number, wanted: number): Promise<Uint8Array> {
    if (sizeOf(word) === 0) return new Uint8Array(wanted);
    const data = await this.#stored(position, word);
    if (data.length !== wanted)
      throw malformed(`A SquashFS block has ${data.length} bytes instead of ${wanted}`);
    return data;
  }

  async #stored(position: number, word: number): Promise<Uint8Array> {
    const { blockSize, compressor } = this.#superblock;
    const size = sizeOf(word);
    if (size > blockSize) throw malformed(`A SquashFS block at ${position} claims ${size} bytes`);
    const bytes = await readExactly(this.#source, position, size, 'a SquashFS block');
    return (word & STORED_BLOCK) === 0 ? decompress(compressor, bytes, blockSize) : bytes;
  }
}

function sizeOf(word: number): number {
  return word & (STORED_BLOCK - 1);
}
