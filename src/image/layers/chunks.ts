/**
 * The chunks of a layer that has a table of contents: pieces of files, each with its SHA-256, packed as members of gzip or frames of
 * zstd. Several chunks may be in one of these, with other bytes of the archive between them; they are one {@link Span}.
 *
 * A layer may have hundred thousands of chunks, so the table is columns of numbers instead of objects.
 */
import { createHash } from 'node:crypto';
import { createGunzip, createZstdDecompress, gunzipSync, zstdDecompressSync } from 'node:zlib';
import { SregistryError, systemCode } from '../../base/errors.ts';
import type { Span, Spans } from './spans.ts';

export type Packing = 'gzip' | 'zstd';

export interface Chunk {
  /** Place in the layer's data, and bytes. */
  readonly at: number;
  readonly length: number;
  /** First byte of the member or frame in the blob. */
  readonly from: number;
  /** Bytes of the blob up to what follows the member or frame, at least those of itself. */
  readonly stored: number;
  /** Place of the chunk in what the member or frame holds. */
  readonly inner: number;
  /** SHA-256: 32 bytes. */
  readonly digest: Buffer;
}

const DIGEST = 32;
/** Columns of numbers, 8 bytes each. */
const COLUMNS = 5;
const HEADER = 16;
/** First bytes of a kept table; another number is another form. */
const MAGIC = 0x31_6b_6e_63;
const PACKINGS: readonly Packing[] = ['gzip', 'zstd'];
/** Stored bytes up to which decompressing is done at once: it takes less time than handing it to a thread. */
const SMALL = 64 * 1024;
/** Bytes behind the last chunk that a small member or frame may have, such as headers of files that follow. */
const BEHIND = 256 * 1024;
/** Bytes that a stream decompresses at a time. */
const PORTION = 256 * 1024;

export class ChunkTable implements Spans {
  readonly size: number;
  readonly packing: Packing;
  readonly #at: Float64Array;
  readonly #length: Float64Array;
  readonly #from: Float64Array;
  readonly #stored: Float64Array;
  readonly #inner: Float64Array;
  readonly #digests: Buffer;
  /** The first chunk of each span, and behind them how many chunks there are. */
  readonly #firsts: Uint32Array;

  private constructor(packing: Packing, size: number, columns: readonly Float64Array[], digests: Buffer) {
    this.packing = packing;
    this.size = size;
    [this.#at, this.#length, this.#from, this.#stored, this.#inner] = columns as [
      Float64Array,
      Float64Array,
      Float64Array,
      Float64Array,
      Float64Array,
    ];
    this.#digests = digests;
    const chunks = this.#at.length;
    const firsts: number[] = [];
    for (let i = 0; i < chunks; i++) if (i === 0 || this.#from[i] !== this.#from[i - 1]) firsts.push(i);
    this.#firsts = Uint32Array.from([...firsts, chunks]);
  }

  /** @param chunks in the order of their places in the data, and in the blob. @param size bytes of the data. */
  static of(packing: Packing, size: number, chunks: readonly Chunk[]): ChunkTable {
    const columns = [
      Float64Array.from(chunks, ({ at }) => at),
      Float64Array.from(chunks, ({ length }) => length),
      Float64Array.from(chunks, ({ from }) => from),
      Float64Array.from(chunks, ({ stored }) => stored),
      Float64Array.from(chunks, ({ inner }) => inner),
    ];
    return new ChunkTable(packing, size, columns, Buffer.concat(chunks.map(({ digest }) => digest)));
  }

  /** The table that {@link toBytes} gave; undefined if the bytes have another form. */
  static fromBytes(bytes: Buffer): ChunkTable | undefined {
    const rest = bytes.length - HEADER;
    const chunks = rest / (COLUMNS * 8 + DIGEST);
    if (rest < 0 || !Number.isInteger(chunks) || bytes.readUInt32LE() !== MAGIC) return undefined;
    const packing = PACKINGS[bytes.readUInt32LE(4)];
    if (packing === undefined) return undefined;
    const numbers = new Float64Array(
      new Uint8Array(bytes.subarray(HEADER, bytes.length - chunks * DIGEST)).buffer,
    );
    const columns = Array.from({ length: COLUMNS }, (_, i) => numbers.subarray(i * chunks, (i + 1) * chunks));
    const digests = Buffer.from(bytes.subarray(bytes.length - chunks * DIGEST));
    return new ChunkTable(packing, bytes.readDoubleLE(8), columns, digests);
  }

  /** For keeping on this machine. */
  toBytes(): Buffer {
    const header = Buffer.alloc(HEADER);
    header.writeUInt32LE(MAGIC);
    header.writeUInt32LE(PACKINGS.indexOf(this.packing), 4);
    header.writeDoubleLE(this.size, 8);
    const columns = [this.#at, this.#length, this.#from, this.#stored, this.#inner];
    const numbers = columns.map(({ buffer, byteOffset, byteLength }) =>
      Buffer.from(buffer, byteOffset, byteLength),
    );
    return Buffer.concat([header, ...numbers, this.#digests]);
  }

  get count(): number {
    return this.#firsts.length - 1;
  }

  span(index: number): Span {
    const [first, last] = this.#chunksOf(index);
    const at = this.#at[first] as number;
    const length = (this.#at[last] as number) + (this.#length[last] as number) - at;
    return { at, length, from: this.#from[first] as number, stored: this.#stored[first] as number };
  }

  async decode(index: number, stored: Buffer): Promise<Uint8Array> {
    const [first, last] = this.#chunksOf(index);
    const { at, length } = this.span(index);
    const needed = (this.#inner[last] as number) + (this.#length[last] as number);
    const unpacked = await unpack(this.packing, stored, needed).catch((cause: unknown) => {
      if (!isCorrupt(cause)) throw cause;
      throw this.#damaged(first, 'cannot be decompressed', cause);
    });
    if (unpacked.length < needed)
      throw this.#damaged(first, `has only ${unpacked.length} of ${needed} bytes`);
    const data = Buffer.alloc(length);
    for (let i = first; i <= last; i++) {
      const inner = this.#inner[i] as number;
      const bytes = unpacked.subarray(inner, inner + (this.#length[i] as number));
      const digest = this.#digests.subarray(i * DIGEST, (i + 1) * DIGEST);
      if (!createHash('sha256').update(bytes).digest().equals(digest))
        throw this.#damaged(i, `does not have its digest sha256:${digest.toString('hex')}`);
      data.set(bytes, (this.#at[i] as number) - at);
    }
    return data;
  }

  #chunksOf(index: number): readonly [first: number, last: number] {
    return [this.#firsts[index] as number, (this.#firsts[index + 1] as number) - 1];
  }

  #damaged(chunk: number, why: string, cause?: unknown): SregistryError {
    return new SregistryError('CORRUPT', `The chunk of the layer at byte ${this.#from[chunk]} ${why}`, {
      hint: 'Read it again to fetch it anew; if it fails again, the registry stores wrong bytes',
      cause,
    });
  }
}

/** Up to `length` bytes of the first member or frame; fewer if it holds no more. */
async function unpack(packing: Packing, stored: Buffer, length: number): Promise<Buffer> {
  if (stored.length <= SMALL) {
    try {
      const atOnce = packing === 'gzip' ? gunzipSync : zstdDecompressSync;
      return atOnce(stored, { maxOutputLength: length + BEHIND });
    } catch (error) {
      // It holds more than is needed, or is cut behind what is needed.
      if (!['ERR_BUFFER_TOO_LARGE', 'Z_BUF_ERROR'].includes(systemCode(error) ?? '')) throw error;
    }
  }
  const options = { chunkSize: Math.min(PORTION, Math.max(length, 1024)) };
  const stream = packing === 'gzip' ? createGunzip(options) : createZstdDecompress(options);
  stream.end(stored);
  const parts: Buffer[] = [];
  let done = 0;
  // Leaving the loop ends the stream: what comes behind is never decompressed.
  for await (const part of stream as AsyncIterable<Buffer>) {
    parts.push(part);
    done += part.length;
    if (done >= length) break;
  }
  return Buffer.concat(parts);
}

/** Do the bytes, and not this machine, make decompressing fail? */
function isCorrupt(error: unknown): boolean {
  return /^(Z_(DATA|BUF|NEED_DICT)|ZSTD_|ERR_ZSTD)/.test(systemCode(error) ?? '');
}
