/** Directory listings: runs of entries that share an inode block, each run with a header. */
import { malformed } from '../binary.ts';
import type { MetadataCursor } from './metadata.ts';

export interface DirectoryEntry {
  readonly name: string;
  /** The entry's inode: its metadata block, counted from the inode table, and the offset in it. */
  readonly inode: { readonly block: number; readonly offset: number };
}

const HEADER_SIZE = 12;
const ENTRY_SIZE = 8;
/** Entries of one run, as in the kernel. */
const MAX_RUN = 256;
const MAX_NAME = 256;
/** 16 MiB of listing are half a million files in one directory; more is a damaged size. */
const MAX_LISTING = 16 * 1024 * 1024;

/**
 * The entries of a listing of `size` bytes.
 * @throws {SregistryError} NOT_AN_IMAGE where it is damaged or a name could not be a file's.
 */
export async function* readListing(cursor: MetadataCursor, size: number): AsyncGenerator<DirectoryEntry> {
  if (size > MAX_LISTING) throw malformed(`A SquashFS directory claims a listing of ${size} bytes`);
  let left = size;
  while (left > HEADER_SIZE) {
    const header = await cursor.fields(HEADER_SIZE, 'SquashFS directory header');
    left -= HEADER_SIZE;
    const [count, block] = [header.u32(0) + 1, header.u32(4)];
    if (count > MAX_RUN) throw malformed(`A SquashFS directory claims a run of ${count} entries`);
    for (let i = 0; i < count && left > 0; i++) {
      const entry = await cursor.fields(ENTRY_SIZE, 'SquashFS directory entry');
      const length = entry.u16(6) + 1;
      if (length > MAX_NAME) throw malformed(`A SquashFS directory has a name of ${length} bytes`);
      const name = Buffer.from(await cursor.read(length)).toString();
      left -= ENTRY_SIZE + length;
      checkName(name);
      yield { name, inode: { block, offset: entry.u16(0) } };
    }
  }
}

/** Names that would lead elsewhere when joined to a path. */
function checkName(name: string): void {
  if (name !== '.' && name !== '..' && !/[/\0]/.test(name)) return;
  throw malformed(`A SquashFS directory has the entry ${JSON.stringify(name)}`);
}
