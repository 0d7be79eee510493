/**
 * The spans of a layer by the checkpoints of a ztoc. Each span of the blob is compared with its digest in the ztoc before it is
 * decompressed.
 */
import { createHash } from 'node:crypto';
import { zstdCompressSync } from 'node:zlib';
import { SregistryError } from '../../base/errors.ts';
import { malformed } from '../binary.ts';
import { MAX_SPAN_SIZE } from './points.ts';
import { decompress, PointSpans, type Restart } from './restart.ts';
import type { Checkpoint } from './ztoc.ts';

/**
 * A {@link Checkpoint} as it is kept. `from` counts the byte of which it has some bits, whose value is not known. `sha256` is that of its
 * bytes of the blob.
 */
export type SociPoint = Restart;

export function sociPointOf({ offset, from, bits, window, digest }: Checkpoint): SociPoint {
  const kind = window === undefined ? 'plain' : 'block';
  const packed = window === undefined ? new Uint8Array(0) : zstdCompressSync(window);
  return { kind, offset, from, bits, byte: 0, sha256: digest.slice('sha256:'.length), window: packed };
}

export class SociSpans extends PointSpans {
  /** A byte of which the next span has some bits belongs to both. */
  protected endBefore({ from, bits }: SociPoint): number {
    return from + (bits === 0 ? 0 : 1);
  }

  async decode(index: number, stored: Buffer): Promise<Uint8Array> {
    const { at, length } = this.span(index);
    const bytes = await decodePoint(this.points[index] as SociPoint, stored, length);
    if (bytes.length !== length)
      throw corrupt(at, `its SOCI index says ${length} bytes, and it has ${bytes.length}`);
    return bytes;
  }
}

/**
 * Bytes of the last span. The ztoc does not tell: the reader of archives that made it stopped before the padding.
 * @param stored the bytes of the span.
 * @throws {SregistryError} CORRUPT if they do not have the digest, NOT_AN_IMAGE if they are too many.
 */
export async function lengthOfLast(point: SociPoint, stored: Buffer): Promise<number> {
  const { length } = await decodePoint(point, stored, MAX_SPAN_SIZE + 1);
  if (length > MAX_SPAN_SIZE) throw malformed('the ztoc has a span of an impossible size');
  return length;
}

async function decodePoint(point: SociPoint, stored: Buffer, limit: number): Promise<Uint8Array> {
  const { bits, offset, sha256 } = point;
  if (createHash('sha256').update(stored).digest('hex') !== sha256)
    throw corrupt(offset, 'the registry sent bytes without the digest of the span');
  const [byte = 0] = stored;
  const rest = bits === 0 ? stored : stored.subarray(1);
  return decompress({ ...point, byte }, rest, limit).catch((cause: unknown) => {
    throw corrupt(offset, 'it cannot be decompressed', cause);
  });
}

function corrupt(at: number, why: string, cause?: unknown): SregistryError {
  return new SregistryError('CORRUPT', `The layer's archive cannot be read from ${at} on: ${why}`, {
    cause,
    hint: 'Open the image again to fetch the whole layer; if it fails again, the image or its SOCI index is wrong',
  });
}
