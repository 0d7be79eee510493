/**
 * The superblock of SquashFS 4 (Linux Documentation/filesystems/squashfs.rst; squashfs-tools squashfs_fs.h): 96
 * bytes, little-endian. mksquashfs writes it last, and pads the file to 4 KiB behind `bytesUsed`.
 */
import { Fields, malformed } from '../binary.ts';

export const SQUASHFS_MAGIC = 'hsqs';
export const SUPERBLOCK_SIZE = 96;
/** Start of a table that the image does not have. */
const NO_TABLE = 0xffffffffffffffffn;
const MIN_BLOCK_LOG = 12;
const MAX_BLOCK_LOG = 20;

const COMPRESSORS = { 1: 'gzip', 2: 'lzma', 3: 'lzo', 4: 'xz', 5: 'lz4', 6: 'zstd' } as const;

export type Compressor = (typeof COMPRESSORS)[keyof typeof COMPRESSORS];

export interface Superblock {
  readonly inodes: number;
  readonly modified: Date;
  /** Bytes of a data block before compression. */
  readonly blockSize: number;
  readonly fragments: number;
  readonly compressor: Compressor;
  /** `block << 16 | offset` of the root directory's inode, see inode.ts. */
  readonly rootInode: bigint;
  /** Length of the file system. */
  readonly bytesUsed: number;
  readonly inodeTable: number;
  readonly directoryTable: number;
  /** Undefined if the image has no fragments. */
  readonly fragmentTable: number | undefined;
}

/**
 * @param bytes the first {@link SUPERBLOCK_SIZE}, magic included.
 * @throws {SregistryError} NOT_AN_IMAGE if they cannot be right.
 */
export function parseSuperblock(bytes: Uint8Array): Superblock {
  const fields = new Fields(bytes, 'SquashFS superblock');
  const [major, minor] = [fields.u16(28), fields.u16(30)];
  if (major !== 4 || minor !== 0)
    throw malformed(`SquashFS version ${major}.${minor} is not known, only 4.0`);
  const blockLog = fields.u16(22);
  const blockSize = fields.u32(12);
  if (blockLog < MIN_BLOCK_LOG || blockLog > MAX_BLOCK_LOG || blockSize !== 2 ** blockLog)
    throw malformed(`The SquashFS superblock gives an impossible block size: ${blockSize}`);
  const bytesUsed = fields.size(40, 'length');
  if (bytesUsed < SUPERBLOCK_SIZE)
    throw malformed(`The SquashFS superblock gives a length of ${bytesUsed} bytes`);
  const table = (at: number, name: string) => {
    const start = fields.size(at, `start of the ${name} table`);
    if (start < SUPERBLOCK_SIZE || start >= bytesUsed)
      throw malformed(
        `The SquashFS ${name} table starts at ${start}, outside the image of ${bytesUsed} bytes`,
      );
    return start;
  };
  return {
    inodes: fields.u32(4),
    modified: new Date(fields.u32(8) * 1000),
    blockSize,
    fragments: fields.u32(16),
    compressor: compressorOf(fields.u16(20)),
    rootInode: fields.u64(32),
    bytesUsed,
    inodeTable: table(64, 'inode'),
    directoryTable: table(72, 'directory'),
    fragmentTable: fields.u32(16) === 0 || fields.u64(80) === NO_TABLE ? undefined : table(80, 'fragment'),
  };
}

/** What {@link encodeSuperblock} needs beyond what a reader wants to know. Positions of tables that do not exist: undefined. */
export interface WrittenSuperblock extends Omit<Superblock, 'modified'> {
  /** Seconds since 1970, 0 to 2^32 - 1. */
  readonly modified: number;
  readonly flags: number;
  readonly ids: number;
  readonly idTable: number;
  readonly xattrTable: number | undefined;
  readonly exportTable: number | undefined;
}

/** Flags of the superblock; they tell tools how to append, readers do not need them. */
export const FLAGS = {
  inodesStored: 0x1,
  dataStored: 0x2,
  fragmentsStored: 0x8,
  noFragments: 0x10,
  exportable: 0x80,
  xattrsStored: 0x100,
  noXattrs: 0x200,
  idsStored: 0x800,
} as const;

/** The {@link SUPERBLOCK_SIZE} bytes of an image. */
export function encodeSuperblock(fs: WrittenSuperblock): Uint8Array {
  const bytes = Buffer.alloc(SUPERBLOCK_SIZE);
  const code = Object.entries(COMPRESSORS).find(([, name]) => name === fs.compressor)?.[0];
  bytes.write(SQUASHFS_MAGIC, 0, 'latin1');
  bytes.writeUInt32LE(fs.inodes, 4);
  bytes.writeUInt32LE(fs.modified, 8);
  bytes.writeUInt32LE(fs.blockSize, 12);
  bytes.writeUInt32LE(fs.fragments, 16);
  bytes.writeUInt16LE(Number(code), 20);
  bytes.writeUInt16LE(Math.log2(fs.blockSize), 22);
  bytes.writeUInt16LE(fs.flags, 24);
  bytes.writeUInt16LE(fs.ids, 26);
  bytes.writeUInt16LE(4, 28);
  bytes.writeBigUInt64LE(fs.rootInode, 32);
  const positions = [
    fs.bytesUsed,
    fs.idTable,
    fs.xattrTable,
    fs.inodeTable,
    fs.directoryTable,
    fs.fragmentTable,
    fs.exportTable,
  ];
  for (const [i, position] of positions.entries())
    bytes.writeBigUInt64LE(position === undefined ? NO_TABLE : BigInt(position), 40 + i * 8);
  return bytes;
}

function compressorOf(code: number): Compressor {
  const name = (COMPRESSORS as Record<number, Compressor>)[code];
  if (name === undefined) throw malformed(`SquashFS compression ${code} is not known`);
  return name;
}
