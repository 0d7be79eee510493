/** A file that exists only as a list of its pieces: ranges of other sources, bytes in memory, zeros. */
import { SregistryError } from '../base/errors.ts';
import type { ByteSource } from './source.ts';
import { type Piece, slicePiece } from './squashfs/nodes.ts';

/** A {@link Piece} and the place of its first byte in the file. */
export type PlacedPiece = Piece & { readonly at: number };

/** A file as pieces: sorted, without gaps, together `size` bytes. */
export interface Assembly {
  readonly size: number;
  readonly pieces: readonly PlacedPiece[];
}

/** Puts pieces one behind the other. */
export class Assembler {
  readonly #pieces: PlacedPiece[] = [];
  #size = 0;

  /** Bytes so far. */
  get size(): number {
    return this.#size;
  }

  /** Returns the place of the piece's first byte. */
  add(piece: Piece): number {
    const at = this.#size;
    if (piece.length > 0) this.#pieces.push({ at, ...piece });
    this.#size += piece.length;
    return at;
  }

  /** Adds zeros up to the next multiple of `alignment`, and returns it. */
  align(alignment: number): number {
    this.add({ length: Math.ceil(this.#size / alignment) * alignment - this.#size });
    return this.#size;
  }

  /** @param first takes the place of the first piece, which must be as long: a header that is known last. */
  finish(first?: Piece): Assembly {
    const [head] = this.#pieces;
    if (first !== undefined && head !== undefined) this.#pieces[0] = { at: 0, ...first };
    return { size: this.#size, pieces: this.#pieces };
  }
}

/**
 * A {@link ByteSource} over the pieces. A read asks each source that it touches once for each piece, one after the other.
 * @param sources by the number that pieces have for them.
 */
export function assembledSource(
  { size, pieces }: Assembly,
  sources: readonly Pick<ByteSource, 'read'>[],
): ByteSource {
  const read = async (offset: number, length: number): Promise<Uint8Array> => {
    const end = Math.min(offset + length, size);
    if (end <= offset) return new Uint8Array(0);
    const parts: Uint8Array[] = [];
    let at = offset;
    for (let i = indexAt(pieces, offset); at < end; i++) {
      const piece = pieces[i] as PlacedPiece;
      const from = at - piece.at;
      const wanted = slicePiece(piece, from, Math.min(piece.length - from, end - at));
      parts.push(await readPiece(wanted, sources));
      at += wanted.length;
    }
    return parts.length === 1 ? (parts[0] as Uint8Array) : Buffer.concat(parts);
  };
  return { size, read };
}

/** The bytes of a piece. @throws {SregistryError} CORRUPT if its source ends before. */
export async function readPiece(
  piece: Piece,
  sources: readonly Pick<ByteSource, 'read'>[],
): Promise<Uint8Array> {
  if ('bytes' in piece) return piece.bytes;
  if (!('source' in piece)) return new Uint8Array(piece.length);
  const source = sources[piece.source];
  if (source === undefined) throw new SregistryError('INTERNAL', `There is no source ${piece.source}`);
  const bytes = await source.read(piece.offset, piece.length);
  if (bytes.length === piece.length) return bytes;
  throw new SregistryError(
    'CORRUPT',
    `Layer ${piece.source + 1} ends before byte ${piece.offset + piece.length}, which its index says it has`,
    { hint: 'The stored layer is damaged; `sregistry cache verify` finds such layers' },
  );
}

/** Index of the piece that holds the byte at `offset`. */
function indexAt(pieces: readonly PlacedPiece[], offset: number): number {
  let [low, high] = [0, pieces.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if ((pieces[middle] as PlacedPiece).at <= offset) low = middle;
    else high = middle - 1;
  }
  return low;
}
