/**
 * The superblock of ext2, ext3 and ext4, as far as the length of the file system goes (Linux
 * Documentation/filesystems/ext4/super.rst): it begins at byte 1024 and is little-endian.
 */
import { Fields, malformed } from './binary.ts';

const SUPERBLOCK_OFFSET = 1024;
/** Bytes from the beginning of the file system that {@link extLength} needs. */
export const EXT_HEADER_SIZE = SUPERBLOCK_OFFSET + 1024;
const MAGIC = 0xef53;
const INCOMPAT_64BIT = 0x80;
/** 64 KiB, the largest block the kernel knows. */
const MAX_LOG_BLOCK_SIZE = 6;

/** Do these first bytes have ext's magic? */
export function isExt(head: Uint8Array): boolean {
  return (
    head.length >= SUPERBLOCK_OFFSET + 58 &&
    new Fields(head.subarray(SUPERBLOCK_OFFSET), 'ext superblock').u16(56) === MAGIC
  );
}

/**
 * Length in bytes of the file system that begins with `head`, {@link EXT_HEADER_SIZE} bytes.
 * @throws {SregistryError} NOT_AN_IMAGE if the superblock cannot be right.
 */
export function extLength(head: Uint8Array): number {
  const fields = new Fields(head.subarray(SUPERBLOCK_OFFSET), 'ext superblock');
  const logBlockSize = fields.u32(24);
  if (logBlockSize > MAX_LOG_BLOCK_SIZE)
    throw malformed(`The ext superblock gives an impossible block size: 2^${logBlockSize} KiB`);
  const high = (fields.u32(96) & INCOMPAT_64BIT) === 0 ? 0 : fields.u32(336);
  const blocks = high * 2 ** 32 + fields.u32(4);
  const length = blocks * 1024 * 2 ** logBlockSize;
  if (length < EXT_HEADER_SIZE || !Number.isSafeInteger(length))
    throw malformed(`The ext superblock gives an impossible size: ${blocks} blocks`);
  return length;
}
