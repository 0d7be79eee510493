/**
 * A SquashFS described over files that exist already, such as the layers of a container: its blocks may be stored as they are
 * and anywhere, so the sources are part of the image as they are, and only the tables are made. The image is
 *
 *     superblock | source 0 | source 1 | ... | other data | tables
 *
 * each source at a multiple of 4 KiB. A file whose contents are one range of a source has its blocks there. The contents
 * of another (bytes in memory, several ranges, holes) are laid out once more in the other data, as references to where they
 * are. Bytes of the sources that no file uses are part of the image, and nobody reads them.
 *
 * The image of a tree and its sources is the same bytes everywhere. A change of what is written for an equal tree changes
 * {@link LAYOUT}.
 */
import { Assembler, type Assembly } from '../assembled.ts';
import { STORED_BLOCK } from './data.ts';
import type { StoredFile } from './inode-writer.ts';
import { type DirectoryNode, type FileNode, type Piece, sizeOfPieces, slicePiece } from './nodes.ts';
import { planTree } from './plan.ts';
import { SUPERBLOCK_SIZE } from './superblock.ts';
import { IMAGE_ALIGNMENT, writeTables } from './tables.ts';

/**
 * Number of the layout: images of an equal number are the same bytes for equal layers. Belongs into the key of whatever is kept. 2 reads
 * layers by their tables of contents.
 */
export const LAYOUT = 2;
/** Bytes of a block: what is read at least, so small suits sources far away. */
const BLOCK_SIZE = 128 * 1024;

/**
 * The image of a tree whose files are in sources.
 * @param sources bytes of each source, by the number that pieces have for them.
 * @param modified seconds since 1970, when the image was made; part of the image's bytes.
 * @returns pieces with the sources' numbers, for {@link assembledSource}.
 * @throws {SregistryError} NOT_PRESENTABLE if the tree has what SquashFS cannot hold.
 */
export function describeSquashFs(
  root: DirectoryNode,
  sources: readonly number[],
  modified: number,
): Assembly {
  const image = new Assembler();
  image.add({ length: SUPERBLOCK_SIZE });
  const starts = sources.map((length, source) => {
    const at = image.align(IMAGE_ALIGNMENT);
    image.add({ length, source, offset: 0 });
    return at;
  });
  image.align(IMAGE_ALIGNMENT);
  const plan = planTree(root);
  const stored = new Map<FileNode, StoredFile>();
  for (const file of plan.files) stored.set(file, placeFile(file.pieces, starts, image));
  const position = image.size;
  // Every kernel with SquashFS has zlib.
  const options = { position, blockSize: BLOCK_SIZE, compressor: 'gzip', modified } as const;
  const { superblock, tables } = writeTables(plan, stored, options);
  image.add({ length: tables.length, bytes: tables });
  return image.finish({ length: superblock.length, bytes: superblock });
}

function placeFile(pieces: readonly Piece[], starts: readonly number[], image: Assembler): StoredFile {
  const size = sizeOfPieces(pieces);
  if (size === 0) return { start: 0, size: 0, words: [], sparse: 0 };
  const [only] = pieces;
  if (pieces.length === 1 && only !== undefined && 'source' in only) {
    const start = (starts[only.source] as number) + only.offset;
    return { start, size, words: wordsOf(size), sparse: 0 };
  }
  return layOut(pieces, size, image);
}

function wordsOf(size: number): number[] {
  const words: number[] = [];
  for (let left = size; left > 0; left -= BLOCK_SIZE) words.push(Math.min(left, BLOCK_SIZE) | STORED_BLOCK);
  return words;
}

/** Block for block; one of zeros alone is not stored. */
function layOut(pieces: readonly Piece[], size: number, image: Assembler): StoredFile {
  const start = image.size;
  const words: number[] = [];
  let sparse = 0;
  let [index, within] = [0, 0];
  for (let done = 0; done < size; ) {
    const length = Math.min(BLOCK_SIZE, size - done);
    const block: Piece[] = [];
    for (let missing = length; missing > 0; ) {
      const piece = pieces[index] as Piece;
      const part = slicePiece(piece, within, Math.min(piece.length - within, missing));
      if (part.length > 0) block.push(part);
      missing -= part.length;
      within += part.length;
      if (within === piece.length) [index, within] = [index + 1, 0];
    }
    if (block.every((part) => !('bytes' in part || 'source' in part))) {
      words.push(0);
      sparse += length;
    } else {
      for (const part of block) image.add(part);
      words.push(length | STORED_BLOCK);
    }
    done += length;
  }
  return { start, size, words, sparse };
}
