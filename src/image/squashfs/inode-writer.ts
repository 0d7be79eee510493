/** Writes inodes (inode.ts reads them), each in the basic form where that holds what it has, else in the extended one. */
import { SregistryError } from '../../base/errors.ts';
import type { WrittenListing } from './directory-writer.ts';
import { EXTENDED, LISTING_EXTRA, NO_FRAGMENT, TYPES } from './inode.ts';
import { FieldWriter, type MetadataWriter, type Place } from './metadata-writer.ts';
import type { DeviceNode, DirectoryNode, FileNode, PipeNode, SymlinkNode, TreeNode } from './nodes.ts';
import type { Planned } from './plan.ts';
import { NO_XATTRS, type XattrWriter } from './xattrs.ts';

/** Where a file's contents are in the image. */
export interface StoredFile {
  readonly start: number;
  /** Bytes of the contents. */
  readonly size: number;
  /** The size word of each block, see data.ts. */
  readonly words: readonly number[];
  readonly fragment?: { readonly index: number; readonly offset: number } | undefined;
  /** Bytes of blocks that are not stored because they are zeros. */
  readonly sparse: number;
}

/** Users and groups; the kernel counts them in 16 bits. */
const MAX_IDS = 65535;
const MAX_U16 = 0xffff;
const MAX_U32 = 0xffffffff;

/** The number of a type in a listing and, in its basic form, in an inode. */
export function typeNumber(node: TreeNode): number {
  return TYPES.indexOf(node.type) + 1;
}

export class InodeWriter {
  readonly #stream: MetadataWriter;
  readonly #xattrs: XattrWriter;
  readonly #ids = new Map<number, number>();
  readonly #fields = new FieldWriter();

  constructor(stream: MetadataWriter, xattrs: XattrWriter) {
    this.#stream = stream;
    this.#xattrs = xattrs;
  }

  /** Users and groups by the number that inodes have for them. */
  get ids(): readonly number[] {
    return [...this.#ids.keys()];
  }

  file(node: FileNode, { number, links }: Planned, stored: StoredFile): Place {
    const xattrs = this.#xattrs.add(node.xattrs);
    const { index, offset } = stored.fragment ?? { index: NO_FRAGMENT, offset: 0 };
    const basic =
      links === 1 &&
      xattrs === NO_XATTRS &&
      stored.sparse === 0 &&
      stored.start <= MAX_U32 &&
      stored.size <= MAX_U32;
    const fields = this.#header(node, number, !basic);
    if (basic) fields.u32(stored.start).u32(index).u32(offset).u32(stored.size);
    else {
      fields.u64(stored.start).u64(stored.size).u64(stored.sparse).u32(links);
      fields.u32(index).u32(offset).u32(xattrs);
    }
    for (const word of stored.words) fields.u32(word);
    return this.#write();
  }

  directory(node: DirectoryNode, { number, links, parent }: Planned, listing: WrittenListing): Place {
    const xattrs = this.#xattrs.add(node.xattrs);
    const { place, index } = listing;
    const size = listing.size + LISTING_EXTRA;
    const basic = xattrs === NO_XATTRS && index.length === 0 && size <= MAX_U16;
    const fields = this.#header(node, number, !basic);
    if (basic) fields.u32(place.block).u32(links).u16(size).u16(place.offset).u32(parent);
    else {
      fields.u32(links).u32(size).u32(place.block).u32(parent);
      // The count of index entries has 16 bits. The kernel reads a listing without them, only slower.
      const usable = index.length <= MAX_U16 ? index : [];
      fields.u16(usable.length).u16(place.offset).u32(xattrs);
      for (const { offset, block, name } of usable)
        fields
          .u32(offset)
          .u32(block)
          .u32(name.length - 1)
          .text(name);
    }
    return this.#write();
  }

  other(node: SymlinkNode | DeviceNode | PipeNode, { number, links }: Planned): Place {
    const xattrs = this.#xattrs.add(node.xattrs);
    const extended = xattrs !== NO_XATTRS;
    const fields = this.#header(node, number, extended).u32(links);
    if (node.type === 'symlink') fields.u32(node.target.length).text(node.target);
    else if ('major' in node) fields.u32(deviceNumber(node));
    if (extended) fields.u32(xattrs);
    return this.#write();
  }

  #header(node: TreeNode, number: number, extended: boolean): FieldWriter {
    const type = typeNumber(node) + (extended ? EXTENDED : 0);
    const fields = this.#fields.clear();
    fields.u16(type).u16(node.mode).u16(this.#id(node.uid)).u16(this.#id(node.gid));
    return fields.u32(clampTime(node.modified)).u32(number);
  }

  #write(): Place {
    const { place } = this.#stream;
    this.#stream.append(this.#fields.bytes);
    return place;
  }

  #id(id: number): number {
    const known = this.#ids.get(id);
    if (known !== undefined) return known;
    const number = this.#ids.size;
    if (number === MAX_IDS)
      throw new SregistryError(
        'NOT_PRESENTABLE',
        `The image's files belong to more than ${MAX_IDS} different users and groups, which SquashFS cannot hold`,
      );
    this.#ids.set(id, number);
    return number;
  }
}

export function clampTime(seconds: number): number {
  return Math.max(0, Math.min(MAX_U32, Math.floor(seconds)));
}

/** As Linux's new_encode_dev: 12 bits of the major number between two parts of the minor one. */
function deviceNumber({ major, minor }: DeviceNode): number {
  return ((minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xfff00) << 12)) >>> 0;
}
