/**
 * An image described over its layers as compressed bytes: what the catalog keeps of it, and what goes from thread to thread. Little-endian:
 * the number of pieces as u64, of each its length and where it is (a layer's number and an offset in it, or one of the codes below)
 * as three f64, then the bytes that were made, one piece behind the other.
 */
import { promisify } from 'node:util';
import { constants, zstdCompressSync, zstdDecompress } from 'node:zlib';
import { Assembler, type Assembly } from '../assembled.ts';
import { malformed } from '../binary.ts';
import type { Piece } from '../squashfs/nodes.ts';

/** Instead of a layer's number. */
const ZEROS = -1;
const MADE = -2;
const FIELDS = 3;
const WORD = 8;

/** Bytes of a buffer of their own. */
export function packImage({ pieces }: Assembly): Uint8Array<ArrayBuffer> {
  const fields: number[] = [];
  const made: Uint8Array[] = [];
  let last: number | undefined;
  for (const piece of pieces) {
    const source = 'bytes' in piece ? MADE : 'source' in piece ? piece.source : ZEROS;
    if ('bytes' in piece) made.push(piece.bytes);
    const isMore = source === MADE && last === MADE;
    if (isMore) fields[fields.length - FIELDS] = (fields.at(-FIELDS) as number) + piece.length;
    else fields.push(piece.length, source, 'source' in piece ? piece.offset : 0);
    last = source;
  }
  const head = new DataView(new ArrayBuffer((1 + fields.length) * WORD));
  head.setBigUint64(0, BigInt(fields.length / FIELDS), true);
  for (const [i, field] of fields.entries()) head.setFloat64((1 + i) * WORD, field, true);
  const params = { [constants.ZSTD_c_checksumFlag]: 1 };
  return new Uint8Array(zstdCompressSync(Buffer.concat([new Uint8Array(head.buffer), ...made]), { params }));
}

/** @throws {SregistryError} NOT_AN_IMAGE if it is damaged; errors of decompression. */
export async function unpackImage(packed: Uint8Array): Promise<Assembly> {
  const bytes = await promisify(zstdDecompress)(packed);
  const count = bytes.length < WORD ? Number.NaN : Number(bytes.readBigUInt64LE(0));
  let made = (1 + count * FIELDS) * WORD;
  if (!(made <= bytes.length)) throw malformed('What is kept of an image is damaged');
  const image = new Assembler();
  for (let at = WORD, i = 0; i < count; i++, at += FIELDS * WORD) {
    const [length, source, offset] = [0, WORD, 2 * WORD].map((field) => bytes.readDoubleLE(at + field));
    image.add(toPiece(length as number, source as number, offset as number));
  }
  return image.finish();

  function toPiece(length: number, source: number, offset: number): Piece {
    if (source === ZEROS) return { length };
    if (source !== MADE) return { length, source, offset };
    const piece = { length, bytes: bytes.subarray(made, made + length) };
    made += length;
    return piece;
  }
}
