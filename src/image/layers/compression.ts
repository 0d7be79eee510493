/** Layers come as plain, gzip or zstd archives. Media types do not always say which; the first bytes do. */
import { type Duplex, Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { atFrames, isZstd } from './zstd-frames.ts';

const GZIP = Buffer.from([0x1f, 0x8b]);

/** Bytes that a decompressor gives at a time. Node's 16 KiB make it half as fast. */
const CHUNK = 256 * 1024;

/** Bytes from which {@link decompressor} can tell. */
export const MAGIC_SIZE = 4;

export interface Decompressor {
  readonly stream: Duplex;
  /** Cuts the bytes as the stream needs them. */
  cut(chunks: AsyncIterable<Buffer>): AsyncIterable<Buffer>;
}

export type Compression = 'gzip' | 'zstd' | 'none';

/** How a blob that begins with `head` is compressed. */
export function compressionOf(head: Buffer): Compression {
  if (GZIP.equals(head.subarray(0, GZIP.length))) return 'gzip';
  return isZstd(head) ? 'zstd' : 'none';
}

/** What turns a blob that begins with `head` into an archive; undefined if it is one already. */
export function decompressor(head: Buffer): Decompressor | undefined {
  switch (compressionOf(head)) {
    case 'gzip':
      return { stream: createGunzip({ chunkSize: CHUNK }), cut: (chunks) => chunks };
    case 'zstd':
      return { stream: createZstdDecompress({ chunkSize: CHUNK }), cut: atFrames };
    case 'none':
      return undefined;
  }
}

/** Decompresses whole frames of zstd. Gives no more than a few bytes beyond `limit`, if there are more. */
export async function unzstd(bytes: Buffer, limit: number): Promise<Buffer> {
  const stream = createZstdDecompress({ chunkSize: CHUNK });
  const fed = pipeline(Readable.from(atFrames([bytes])), stream);
  fed.catch(() => {});
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of stream as AsyncIterable<Buffer>) {
    parts.push(part);
    size += part.length;
    if (size > limit) break;
  }
  if (size <= limit) await fed;
  return Buffer.concat(parts);
}
