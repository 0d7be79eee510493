/** Layers come as plain, gzip or zstd archives. Media types do not always say which; the first bytes do. */
import type { Duplex } from 'node:stream';
import { createGunzip, createZstdDecompress } from 'node:zlib';

const GZIP = Buffer.from([0x1f, 0x8b]);
const ZSTD = Buffer.from([0x28, 0xb5, 0x2f, 0xfd]);

/** Bytes from which {@link decompressor} can tell. */
export const MAGIC_SIZE = 4;

/** What turns a blob that begins with `head` into an archive; undefined if it is one already. */
export function decompressor(head: Uint8Array): Duplex | undefined {
  const startsWith = (magic: Buffer) => magic.equals(head.subarray(0, magic.length));
  if (startsWith(GZIP)) return createGunzip();
  return startsWith(ZSTD) ? createZstdDecompress() : undefined;
}
