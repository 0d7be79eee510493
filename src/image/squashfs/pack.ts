/**
 * An ordinary SquashFS image, as mksquashfs makes it: contents in compressed blocks, files smaller than a block together in
 * fragments, blocks of zeros left out. The same tree and sources give the same bytes, whatever the number of threads.
 */
import { THREADS } from '../../base/threads.ts';
import { readPiece } from '../assembled.ts';
import type { ByteSource } from '../source.ts';
import { type CompressedBlock, compressBlock, compressInThread, type PackCompressor } from './compress.ts';
import { STORED_BLOCK } from './data.ts';
import type { StoredFile } from './inode-writer.ts';
import { FieldWriter } from './metadata-writer.ts';
import { type DirectoryNode, type FileNode, type Piece, sizeOfPieces, slicePiece } from './nodes.ts';
import { planTree } from './plan.ts';
import { SUPERBLOCK_SIZE } from './superblock.ts';
import { writeTables } from './tables.ts';

const BLOCK_SIZE = 128 * 1024;
/** Blocks that are read before the first of them is written: some for each thread. */
const AHEAD = 4 * THREADS;

export interface PackOptions {
  readonly compressor: PackCompressor;
  /** Seconds since 1970, when the image was made. */
  readonly modified: number;
  readonly signal?: AbortSignal | undefined;
  /** Called with the bytes of contents that were read, and those of all files together. */
  readonly progress?: ((done: number, total: number) => void) | undefined;
}

/** Writes bytes at an offset from the image's beginning. The superblock comes last, so what is not whole is no image. */
export type WriteAt = (bytes: Uint8Array, at: number) => Promise<void>;

/**
 * Packs a tree; returns the bytes of the image, a multiple of 4 KiB.
 * @param sources by the number that the tree's pieces have for them.
 * @throws {SregistryError} NOT_PRESENTABLE if the tree has what SquashFS cannot hold, CORRUPT if a source is too short; the
 *   signal's reason; errors of the sources and of `write`.
 */
export async function packSquashFs(
  root: DirectoryNode,
  sources: readonly Pick<ByteSource, 'read'>[],
  write: WriteAt,
  { compressor, modified, signal, progress }: PackOptions,
): Promise<number> {
  const plan = planTree(root);
  const total = plan.files.reduce((sum, { pieces }) => sum + sizeOfPieces(pieces), 0);
  const blocks = new BlockQueue(compressor, write);
  const fragments = new Fragments(blocks);
  const stored = new Map<FileNode, StoredFile>();
  let done = 0;
  for (const file of plan.files) {
    const size = sizeOfPieces(file.pieces);
    if (size > 0 && size < BLOCK_SIZE) {
      const fragment = await fragments.add(await readPieces(file.pieces, 0, size, sources));
      stored.set(file, { start: 0, size, words: [], fragment, sparse: 0 });
    } else {
      stored.set(file, await packBlocks(file.pieces, size, sources, blocks, signal));
    }
    signal?.throwIfAborted();
    done += size;
    progress?.(done, total);
  }
  await fragments.flush();
  await blocks.finish();
  const position = blocks.position;
  const { superblock, tables } = writeTables(plan, stored, {
    position,
    blockSize: BLOCK_SIZE,
    compressor,
    compress: (bytes) => compressBlock(compressor, bytes),
    modified,
    fragments: fragments.table,
  });
  await write(tables, position);
  await write(superblock, 0);
  return position + tables.length;
}

async function packBlocks(
  pieces: readonly Piece[],
  size: number,
  sources: readonly Pick<ByteSource, 'read'>[],
  blocks: BlockQueue,
  signal: AbortSignal | undefined,
): Promise<StoredFile> {
  const words: number[] = new Array(Math.ceil(size / BLOCK_SIZE)).fill(0);
  const file = { start: 0, size, words, sparse: 0 };
  let isFirst = true;
  for (let i = 0; i < words.length; i++) {
    signal?.throwIfAborted();
    const length = Math.min(BLOCK_SIZE, size - i * BLOCK_SIZE);
    const bytes = await readPieces(pieces, i * BLOCK_SIZE, length, sources);
    if (isZeros(bytes)) {
      file.sparse += length;
      continue;
    }
    const startsHere = isFirst;
    isFirst = false;
    await blocks.add(bytes, (at, word) => {
      if (startsHere) file.start = at;
      words[i] = word;
    });
  }
  return file;
}

/** Compresses blocks beside each other, and writes them in the order in which they came. */
class BlockQueue {
  /** Where the next block will be. */
  position = SUPERBLOCK_SIZE;
  readonly #compressor: PackCompressor;
  readonly #write: WriteAt;
  readonly #pending: { block: Promise<CompressedBlock>; written: (at: number, word: number) => void }[] = [];

  constructor(compressor: PackCompressor, write: WriteAt) {
    this.#compressor = compressor;
    this.#write = write;
  }

  /** @param written is told where the block is and its size word, at the latest by `finish`. */
  async add(bytes: Uint8Array<ArrayBuffer>, written: (at: number, word: number) => void): Promise<void> {
    if (this.#pending.length >= AHEAD) await this.#writeFirst();
    const block = compressInThread(this.#compressor, bytes);
    // Its failure is thrown once the blocks before it are written.
    block.catch(() => {});
    this.#pending.push({ block, written });
  }

  async finish(): Promise<void> {
    while (this.#pending.length > 0) await this.#writeFirst();
  }

  async #writeFirst(): Promise<void> {
    const first = this.#pending.shift();
    if (first === undefined) return;
    const { bytes, isCompressed } = await first.block;
    const at = this.position;
    await this.#write(bytes, at);
    this.position += bytes.length;
    first.written(at, bytes.length | (isCompressed ? 0 : STORED_BLOCK));
  }
}

/** Small files, one behind the other in blocks that they share. */
class Fragments {
  readonly #blocks: BlockQueue;
  readonly #written: { at: number; word: number }[] = [];
  #current = new Uint8Array(BLOCK_SIZE);
  #filled = 0;
  #index = 0;

  constructor(blocks: BlockQueue) {
    this.#blocks = blocks;
  }

  async add(bytes: Uint8Array): Promise<{ readonly index: number; readonly offset: number }> {
    if (this.#filled + bytes.length > BLOCK_SIZE) await this.flush();
    const offset = this.#filled;
    this.#current.set(bytes, offset);
    this.#filled += bytes.length;
    return { index: this.#index, offset };
  }

  async flush(): Promise<void> {
    if (this.#filled === 0) return;
    const bytes = this.#current.slice(0, this.#filled);
    const index = this.#index;
    this.#index += 1;
    this.#filled = 0;
    await this.#blocks.add(bytes, (at, word) => {
      this.#written[index] = { at, word };
    });
  }

  /** The entries of the fragment table, once all blocks are written. */
  get table(): Uint8Array {
    const fields = new FieldWriter();
    for (const { at, word } of this.#written) fields.u64(at).u32(word).u32(0);
    return fields.bytes;
  }
}

/** Bytes of a file, in a buffer of their own. */
async function readPieces(
  pieces: readonly Piece[],
  offset: number,
  length: number,
  sources: readonly Pick<ByteSource, 'read'>[],
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    const [start, end] = [Math.max(offset, at), Math.min(offset + length, at + piece.length)];
    if (start < end && ('bytes' in piece || 'source' in piece))
      bytes.set(await readPiece(slicePiece(piece, start - at, end - start), sources), start - offset);
    at += piece.length;
    if (at >= offset + length) break;
  }
  return bytes;
}

function isZeros(bytes: Uint8Array): boolean {
  return (
    bytes.length > 0 && bytes[0] === 0 && Buffer.from(bytes.buffer).equals(ZEROS.subarray(0, bytes.length))
  );
}

const ZEROS = Buffer.alloc(BLOCK_SIZE);
