/** Checksums as Cloud Storage states them, in Base64. */
import { createHash } from 'node:crypto';

export interface Hashes {
  readonly md5Hash: string;
  readonly crc32c: string;
}

export const hashesOf = (bytes: Buffer): Hashes => ({ md5Hash: md5(bytes), crc32c: crc32c(bytes) });

const md5 = (bytes: Buffer) => createHash('md5').update(bytes).digest('base64');

/** CRC32C (RFC 3720, appendix B.4), big-endian. */
function crc32c(bytes: Buffer): string {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ (TABLE[(crc ^ byte) & 0xff] as number);
  const out = Buffer.alloc(4);
  out.writeUInt32BE((crc ^ 0xffffffff) >>> 0);
  return out.toString('base64');
}

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  return value;
});
