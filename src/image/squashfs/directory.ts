/** Directory listings: runs of entries that share an inode block, each run with a header. */
import { Fields, malformed } from '../binary.ts';

export interface DirectoryEntry {
  readonly name: string;
  /** The entry's inode: its metadata block, counted from the inode table, and the offset in it. */
  readonly inode: { readonly block: number; readonly offset: number };
}

/** Bytes of a listing at most: half a million files in one directory. More means a damaged size. */
export const MAX_LISTING = 16 * 1024 * 1024;
const HEADER_SIZE = 12;
const ENTRY_SIZE = 8;
/** Entries of one run, and bytes of a name, as in the kernel. */
export const MAX_RUN = 256;
const MAX_NAME = 256;

/**
 * The entries of a listing.
 * @throws {SregistryError} NOT_AN_IMAGE if it is damaged or a name could not be a file's.
 */
export function* parseListing(listing: Uint8Array): Generator<DirectoryEntry> {
  const fields = new Fields(listing, 'SquashFS directory');
  let at = 0;
  while (at < listing.length) {
    needs(listing, at, HEADER_SIZE);
    const [count, block] = [fields.u32(at) + 1, fields.u32(at + 4)];
    if (count > MAX_RUN) throw malformed(`A SquashFS directory claims a run of ${count} entries`);
    at += HEADER_SIZE;
    for (let i = 0; i < count; i++) {
      needs(listing, at, ENTRY_SIZE);
      const [offset, length] = [fields.u16(at), fields.u16(at + 6) + 1];
      at += ENTRY_SIZE;
      needs(listing, at, length);
      if (length > MAX_NAME) throw malformed(`A SquashFS directory has a name of ${length} bytes`);
      const name = Buffer.from(listing.subarray(at, at + length)).toString();
      at += length;
      checkName(name);
      yield { name, inode: { block, offset } };
    }
  }
}

function needs(listing: Uint8Array, at: number, bytes: number): void {
  if (at + bytes > listing.length) throw malformed('A SquashFS directory ends within an entry');
}

/** Refuses names that would lead elsewhere when joined to a path. */
function checkName(name: string): void {
  if (name !== '.' && name !== '..' && !/[/\0]/.test(name)) return;
  throw malformed(`A SquashFS directory has the entry ${JSON.stringify(name)}`);
}
