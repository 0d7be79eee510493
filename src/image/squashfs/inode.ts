/** Inodes: what a file is, and where its data or its listing lies (squashfs-tools squashfs_fs.h). */
import { type Fields, malformed } from '../binary.ts';
import type { MetadataCursor } from './metadata.ts';

export type FileType =
  | 'directory'
  | 'file'
  | 'symlink'
  | 'block-device'
  | 'character-device'
  | 'fifo'
  | 'socket';

/** By number of the inode type; the extended form of each is 7 higher. */
export const TYPES: readonly FileType[] = [
  'directory',
  'file',
  'symlink',
  'block-device',
  'character-device',
  'fifo',
  'socket',
];
export const EXTENDED = 7;
export const NO_FRAGMENT = 0xffffffff;
/** PATH_MAX, the longest target that the kernel accepts. */
const MAX_TARGET = 4096;
/** A listing's size includes three bytes for `.` and `..` that are not stored. */
export const LISTING_EXTRA = 3;

interface Common {
  readonly mode: number;
  readonly modified: Date;
}

export interface DirectoryInode extends Common {
  readonly type: 'directory';
  /** Of the listing: its metadata block, counted from the directory table, the offset in it, and its bytes. */
  readonly block: number;
  readonly offset: number;
  readonly size: number;
}

export interface FileInode extends Common {
  readonly type: 'file';
  readonly size: number;
  /** Where the blocks begin, and the size word of each. */
  readonly start: number;
  readonly blocks: BlockList;
  /** The tail that shares a block with other files'. */
  readonly fragment: { readonly index: number; readonly offset: number } | undefined;
}

/** Reads the size words of the first `count` blocks; lazily, as a hostile size would make the list huge. */
export type BlockList = (count: number) => Promise<Fields>;

export interface SymlinkInode extends Common {
  readonly type: 'symlink';
  readonly size: number;
  readonly target: string;
}

export interface OtherInode extends Common {
  readonly type: Exclude<FileType, 'directory' | 'file' | 'symlink'>;
  readonly size: 0;
}

export type Inode = DirectoryInode | FileInode | SymlinkInode | OtherInode;

export async function readInode(cursor: MetadataCursor): Promise<Inode> {
  const header = await cursor.fields(16, 'SquashFS inode');
  const code = header.u16(0);
  const extended = code > EXTENDED;
  const type = TYPES[(extended ? code - EXTENDED : code) - 1];
  if (type === undefined) throw malformed(`A SquashFS inode has the unknown type ${code}`);
  const common = { mode: header.u16(2) & 0o7777, modified: new Date(header.u32(8) * 1000) };
  switch (type) {
    case 'directory':
      return { type, ...common, ...(await readDirectory(cursor, extended)) };
    case 'file':
      return { type, ...common, ...(await readFile(cursor, extended)) };
    case 'symlink':
      return { type, ...common, ...(await readSymlink(cursor)) };
    default:
      return { type, ...common, size: 0 };
  }
}

async function readDirectory(cursor: MetadataCursor, extended: boolean) {
  const what = 'SquashFS directory inode';
  if (extended) {
    const fields = await cursor.fields(24, what);
    return { block: fields.u32(8), offset: fields.u16(18), size: listingSize(fields.u32(4)) };
  }
  const fields = await cursor.fields(16, what);
  return { block: fields.u32(0), offset: fields.u16(10), size: listingSize(fields.u16(8)) };
}

function listingSize(size: number): number {
  return Math.max(0, size - LISTING_EXTRA);
}

async function readFile(cursor: MetadataCursor, extended: boolean) {
  const what = 'SquashFS file inode';
  const blocks: BlockList = (count) => cursor.fields(count * 4, what);
  if (extended) {
    const fields = await cursor.fields(40, what);
    const [start, size] = [fields.size(0, 'block position'), fields.size(8, 'size')];
    return { start, size, fragment: fragment(fields.u32(28), fields.u32(32)), blocks };
  }
  const fields = await cursor.fields(16, what);
  const [start, size] = [fields.u32(0), fields.u32(12)];
  return { start, size, fragment: fragment(fields.u32(4), fields.u32(8)), blocks };
}

function fragment(index: number, offset: number) {
  return index === NO_FRAGMENT ? undefined : { index, offset };
}

async function readSymlink(cursor: MetadataCursor) {
  const size = (await cursor.fields(8, 'SquashFS symlink inode')).u32(4);
  if (size > MAX_TARGET) throw malformed(`A SquashFS symlink claims a target of ${size} bytes`);
  return { size, target: Buffer.from(await cursor.read(size)).toString() };
}
