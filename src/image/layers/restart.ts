/**
 * Restart points of a compressed layer: places in its blob from which the archive can be decompressed, after zran.c of zlib. They
 * are found while the layer is fetched as a whole. When the cache has lost parts of the archive, these are made again from
 * ranges of the blob.
 *
 * The archive from one point to the next is a span. A span has the sha256 that its bytes had when the whole archive was compared
 * with its digest, so no byte of another service, or of another time, is taken unseen.
 *
 * | point    | decompressed by                                                                              |
 * |----------|----------------------------------------------------------------------------------------------|
 * | `plain`  | nothing: the blob is the archive                                                             |
 * | `member` | gunzip: members of a gzip file, of which the last one may be cut                             |
 * | `block`  | inflate: blocks of one member, given the 32 KiB of the archive before it (the window)        |
 * | `frame`  | zstd: whole frames                                                                           |
 */
import { createHash } from 'node:crypto';
import { promisify } from 'node:util';
import { constants, gunzip, inflateRaw, zstdDecompressSync } from 'node:zlib';
import { SregistryError } from '../../base/errors.ts';
import { unzstd } from './compression.ts';
import { fromBit } from './empty-blocks.ts';
import type { Span, Spans } from './spans.ts';

/** What DEFLATE can refer to: RFC 1951, 2. */
export const WINDOW_SIZE = 32 * 1024;

/** Checksum and size behind a gzip member: RFC 1952, 2.3. */
const TRAILER_SIZE = 8;

const gunzipAll = promisify(gunzip);
const inflateAll = promisify(inflateRaw);

export interface RestartPoint {
  readonly kind: 'plain' | 'member' | 'block' | 'frame';
  /** Bytes of the archive before it. */
  readonly offset: number;
  /** The first byte of the blob that belongs to it alone. */
  readonly from: number;
  /** How many of the highest bits of the byte before `from` belong to it (0 to 7), and the value of that byte. */
  readonly bits: number;
  readonly byte: number;
}

/** A point, and what is needed to decompress its span and to compare it. */
export interface Restart extends RestartPoint {
  /** `<64 hex>`: the sha256 of the span. */
  readonly sha256: string;
  /** The bytes of the archive before the point, compressed by zstd; empty if none are needed. */
  readonly window: Uint8Array;
}

/** The spans of a layer between its points. */
export abstract class PointSpans implements Spans {
  /** Bytes of the archive. */
  readonly size: number;
  readonly points: readonly Restart[];
  /** Bytes of the blob that the last span ends with. */
  readonly storedSize: number;

  constructor(points: readonly Restart[], size: number, storedSize: number) {
    this.points = points;
    this.size = size;
    this.storedSize = storedSize;
  }

  get count(): number {
    return this.points.length;
  }

  span(index: number): Span {
    const { offset, from } = this.points[index] as Restart;
    const next = this.points[index + 1];
    const end = next === undefined ? this.storedSize : this.endBefore(next);
    return { at: offset, length: (next?.offset ?? this.size) - offset, from, stored: end - from };
  }

  abstract decode(index: number, stored: Buffer): Promise<Uint8Array>;

  /** Where in the blob the span before a point ends. */
  protected abstract endBefore(next: Restart): number;
}

export class RestartSpans extends PointSpans {
  protected endBefore({ from }: Restart): number {
    return from;
  }

  /**
   * The bytes of a span, from those of the blob.
   * @throws {SregistryError} CORRUPT if they are not what they were when the whole archive was compared.
   */
  async decode(index: number, stored: Buffer): Promise<Uint8Array> {
    const point = this.points[index] as Restart;
    const { at, length } = this.span(index);
    const bytes = await decompress(point, stored, length).catch((cause: unknown) => {
      throw corrupt(at, length, cause);
    });
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    if (bytes.length !== length || sha256 !== point.sha256) throw corrupt(at, length);
    return bytes;
  }
}

function corrupt(at: number, length: number, cause?: unknown): SregistryError {
  return new SregistryError(
    'CORRUPT',
    `The registry sends other bytes than before: ${length} bytes of the layer's archive from ${at} on are not right`,
    {
      cause,
      hint: 'Open the image again to fetch the whole layer; if it fails again, the registry stores wrong bytes',
    },
  );
}

/** At most `length` bytes of the archive from a point on. A cut end is no error: the caller compares. */
export async function decompress(
  point: RestartPoint & Pick<Restart, 'window'>,
  stored: Buffer,
  length: number,
): Promise<Buffer> {
  switch (point.kind) {
    case 'plain':
      return stored;
    case 'member':
      return gunzipAll(stored, limitsOf(length));
    case 'block':
      return inflateBlocks(point, stored, length);
    case 'frame':
      return unzstd(stored, length);
  }
}

/** The blocks from a point on. If the member ends before its span does, so as in the spans of SOCI, the next members follow. */
async function inflateBlocks(
  point: Pick<Restart, 'bits' | 'byte' | 'window'>,
  stored: Buffer,
  length: number,
): Promise<Buffer> {
  const dictionary = zstdDecompressSync(point.window, { maxOutputLength: WINDOW_SIZE });
  const data = fromBit(point, stored);
  const options = { ...limitsOf(length), dictionary, info: true };
  // Types of Node do not know `info`: the result is what is made, and the engine that made it.
  const result: unknown = await inflateAll(data, options);
  const { buffer, engine } = result as { buffer: Buffer; engine: { bytesWritten: number } };
  const next = data.subarray(engine.bytesWritten + TRAILER_SIZE);
  if (buffer.length >= length || next.length === 0) return buffer;
  return Buffer.concat([buffer, await gunzipAll(next, limitsOf(length - buffer.length))]);
}

/** A cut end is no error here. */
function limitsOf(length: number) {
  return { finishFlush: constants.Z_SYNC_FLUSH, maxOutputLength: Math.max(1, length) };
}
