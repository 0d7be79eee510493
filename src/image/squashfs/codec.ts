/** Decompression of one block, with a bound on what comes out: a block that claims more is damaged or a bomb. */
import { inflateSync, zstdDecompressSync } from 'node:zlib';
import { malformed } from '../binary.ts';
import { decompressLzo } from './lzo.ts';
import type { Compressor } from './superblock.ts';

type Decompress = (bytes: Uint8Array, limit: number) => Uint8Array | Promise<Uint8Array>;

/** Decompressors. Each throws some error if the bytes are damaged or give more than `limit`. */
const DECOMPRESS: Record<Compressor, Decompress> = {
  gzip: (bytes, limit) => inflateSync(bytes, { maxOutputLength: limit }),
  zstd: (bytes, limit) => zstdDecompressSync(bytes, { maxOutputLength: limit }),
  lzo: decompressLzo,
  xz: decompressXz,
  lz4: decompressLz4,
  lzma: () => {
    throw new Error('No Singularity can mount LZMA-compressed SquashFS');
  },
};

/** @throws {SregistryError} NOT_AN_IMAGE if the block is damaged or decompresses to more than `limit` bytes. */
export async function decompress(
  compressor: Compressor,
  bytes: Uint8Array,
  limit: number,
): Promise<Uint8Array> {
  try {
    return await DECOMPRESS[compressor](bytes, limit);
  } catch (cause) {
    throw malformed(`A ${compressor} block of the SquashFS is damaged`, cause);
  }
}

async function decompressXz(bytes: Uint8Array, limit: number): Promise<Uint8Array> {
  const { default: xz } = await import('xz-decompress');
  const chunks: Uint8Array[] = [];
  let length = 0;
  const input = new ReadableStream<Uint8Array>({
    start: (controller) => {
      controller.enqueue(bytes);
      controller.close();
    },
  });
  for await (const chunk of new xz.XzReadableStream(input)) {
    length += chunk.length;
    if (length > limit) throw new RangeError(`XZ data gives more than ${limit} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

async function decompressLz4(bytes: Uint8Array, limit: number): Promise<Uint8Array> {
  const { default: lz4 } = await import('lz4js');
  const output = new Uint8Array(limit);
  // Writes behind the end of a typed array have no effect, so check the returned length.
  const length = lz4.decompressBlock(bytes, output, 0, bytes.length, 0);
  if (!(length <= limit)) throw new RangeError(`LZ4 data gives more than ${limit} bytes`);
  return output.subarray(0, length);
}
