/**
 * Extended attributes (squashfs-tools squashfs_fs.h): lists of names and values in metadata blocks, then a table that
 * says where each list is. Inodes name a list by its number; equal lists are written once.
 */
import { type CompressBlock, FieldWriter, MetadataWriter } from './metadata-writer.ts';

/** The number of an inode without extended attributes. */
export const NO_XATTRS = 0xffffffff;
/** What a name begins with is a number on disk; other names (`system.`) a SquashFS cannot hold. */
const PREFIXES = ['user.', 'trusted.', 'security.'];
/** Bytes of an entry in the table of lists. */
const LIST_ENTRY = 16;

export class XattrWriter {
  readonly #lists: MetadataWriter;
  readonly #numbers = new Map<string, number>();
  readonly #table = new FieldWriter();
  readonly #compress: CompressBlock | undefined;
  readonly #scratch = new FieldWriter();

  constructor(compress: CompressBlock | undefined) {
    this.#compress = compress;
    this.#lists = new MetadataWriter(compress);
  }

  /** The number of the list that holds these, in order of their names. */
  add(xattrs: Readonly<Record<string, string>> | undefined): number {
    if (xattrs === undefined) return NO_XATTRS;
    const known = Object.entries(xattrs)
      .map(([name, value]) => ({ prefix: PREFIXES.findIndex((p) => name.startsWith(p)), name, value }))
      .filter(({ prefix }) => prefix >= 0)
      .sort((a, b) => (a.name < b.name ? -1 : 1));
    if (known.length === 0) return NO_XATTRS;
    const fields = this.#scratch.clear();
    for (const { prefix, name, value } of known) {
      const rest = name.slice((PREFIXES[prefix] as string).length);
      fields.u16(prefix).u16(rest.length).text(rest).u32(value.length).text(value);
    }
    const key = Buffer.from(fields.bytes).toString('latin1');
    const existing = this.#numbers.get(key);
    if (existing !== undefined) return existing;
    const { block, offset } = this.#lists.place;
    this.#table
      .u64(block * 65536 + offset)
      .u32(known.length)
      .u32(fields.length);
    this.#lists.append(fields.bytes);
    const number = this.#numbers.size;
    this.#numbers.set(key, number);
    return number;
  }

  /**
   * The bytes from `position` on, and where the table in them starts; undefined if no node has any. The index of the table
   * must be the last thing of the image: the kernel compares its length with the image's.
   */
  finish(position: number): { readonly bytes: Uint8Array; readonly start: number } | undefined {
    if (this.#numbers.size === 0) return undefined;
    const lists = this.#lists.finish().bytes;
    const table = new MetadataWriter(this.#compress);
    table.append(this.#table.bytes);
    const { bytes, blocks } = table.finish();
    const tableAt = position + lists.length;
    const head = new FieldWriter()
      .u64(position)
      .u32(this.#table.length / LIST_ENTRY)
      .u32(0);
    for (const block of blocks) head.u64(tableAt + block);
    return { bytes: Buffer.concat([lists, bytes, head.bytes]), start: tableAt + bytes.length };
  }
}
