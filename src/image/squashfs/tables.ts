/**
 * Everything of an image but the data: superblock, inodes, directories, fragments, export table, users and groups, extended
 * attributes, in this order. The kernel takes each index for as long as the way to the next table, so nothing may lie
 * between them; and it refuses an image whose last sector is not whole, hence the padding.
 */
import { DirectoryWriter } from './directory-writer.ts';
import { clampTime, InodeWriter, type StoredFile, typeNumber } from './inode-writer.ts';
import { type CompressBlock, MetadataWriter, type Place, writeTable } from './metadata-writer.ts';
import type { DirectoryNode, FileNode, TreeNode } from './nodes.ts';
import type { Plan, Planned } from './plan.ts';
import { type Compressor, encodeSuperblock, FLAGS } from './superblock.ts';
import { XattrWriter } from './xattrs.ts';

/** Images are padded to this, as mksquashfs does. */
export const IMAGE_ALIGNMENT = 4096;

export interface TableOptions {
  /** Where the data ends and the tables begin. */
  readonly position: number;
  readonly blockSize: number;
  /** The compressor that the superblock names: the kernel needs it even if nothing is compressed. */
  readonly compressor: Compressor;
  /** Default: everything is stored as it is. */
  readonly compress?: CompressBlock | undefined;
  /** Seconds since 1970, when the image was made. */
  readonly modified: number;
  /** Entries of the fragment table, 16 bytes each. */
  readonly fragments?: Uint8Array | undefined;
}

export interface WrittenTables {
  /** For the first bytes of the image. */
  readonly superblock: Uint8Array;
  /** From `position` on, to the end of the image, padding included. */
  readonly tables: Uint8Array;
}

/**
 * @param stored where the contents of each file of the plan are.
 * @throws {SregistryError} NOT_PRESENTABLE for more users and groups than the format holds.
 */
export function writeTables(
  plan: Plan,
  stored: ReadonlyMap<FileNode, StoredFile>,
  options: TableOptions,
): WrittenTables {
  const { compress, position } = options;
  const xattrs = new XattrWriter(compress);
  const inodes = new MetadataWriter(compress);
  const directories = new MetadataWriter(compress);
  const inodeWriter = new InodeWriter(inodes, xattrs);
  const { root, exports } = writeTree(plan, stored, inodeWriter, new DirectoryWriter(directories));

  const parts: Uint8Array[] = [];
  let at = position;
  const put = (bytes: Uint8Array): number => {
    const start = at;
    parts.push(bytes);
    at += bytes.length;
    return start;
  };
  const putTable = (entries: Uint8Array): number => {
    const { bytes, start } = writeTable(entries, at, compress);
    put(bytes);
    return start;
  };
  const ids = inodeWriter.ids;
  const fragments = options.fragments ?? new Uint8Array(0);
  const inodeTable = put(inodes.finish().bytes);
  const directoryTable = put(directories.finish().bytes);
  const fragmentTable = fragments.length === 0 ? undefined : putTable(fragments);
  const exportTable = putTable(bytesOf(exports));
  const idTable = putTable(bytesOf(Uint32Array.from(ids)));
  const lists = xattrs.finish(at);
  if (lists !== undefined) put(lists.bytes);
  const bytesUsed = at;
  put(new Uint8Array(aligned(bytesUsed, IMAGE_ALIGNMENT) - bytesUsed));

  const superblock = encodeSuperblock({
    inodes: plan.nodes.size,
    modified: clampTime(options.modified),
    blockSize: options.blockSize,
    fragments: fragments.length / 16,
    compressor: options.compressor,
    flags: flagsOf(compress !== undefined, fragments.length > 0, lists !== undefined),
    ids: ids.length,
    rootInode: BigInt(root.block) * 65536n + BigInt(root.offset),
    bytesUsed,
    idTable,
    xattrTable: lists?.start,
    inodeTable,
    directoryTable,
    fragmentTable,
    exportTable,
  });
  return { superblock, tables: Buffer.concat(parts) };
}

/**
 * Writes a directory's inodes together, in order of their names, and then its listing; what is in its directories comes
 * before, as their inodes say where their listings are.
 */
function writeTree(
  { root, nodes }: Plan,
  stored: ReadonlyMap<FileNode, StoredFile>,
  inodes: InodeWriter,
  directories: DirectoryWriter,
): { readonly root: Place; readonly exports: BigUint64Array } {
  const places: Place[] = new Array(nodes.size + 1);
  const exports = new BigUint64Array(nodes.size);
  const placed = ({ number }: Planned, place: Place): Place => {
    places[number] = place;
    exports[number - 1] = BigInt(place.block * 65536 + place.offset);
    return place;
  };
  const planned = (node: TreeNode) => nodes.get(node) as Planned;
  const writeListing = (directory: DirectoryNode) => {
    const { entries } = planned(directory);
    const listings = new Map<DirectoryNode, ReturnType<DirectoryWriter['write']>>();
    for (const [, node] of entries) if (node.type === 'directory') listings.set(node, writeListing(node));
    const listed = entries.map(([name, node]) => {
      const plan = planned(node);
      const place = places[plan.number] ?? placed(plan, writeInode(node, plan, listings));
      return { name, place, number: plan.number, type: typeNumber(node) };
    });
    return directories.write(listed);
  };
  const writeInode = (
    node: TreeNode,
    plan: Planned,
    listings: ReadonlyMap<DirectoryNode, Listing>,
  ): Place => {
    if (node.type === 'directory') return inodes.directory(node, plan, listings.get(node) as Listing);
    if (node.type === 'file') return inodes.file(node, plan, stored.get(node) as StoredFile);
    return inodes.other(node, plan);
  };
  const listing = writeListing(root);
  // The root's `..` is a number that no inode has, as mksquashfs writes it.
  const plan = { ...planned(root), parent: nodes.size + 1 };
  return { root: placed(plan, inodes.directory(root, plan, listing)), exports };
}

type Listing = ReturnType<DirectoryWriter['write']>;

function flagsOf(isCompressed: boolean, hasFragments: boolean, hasXattrs: boolean): number {
  const stored = FLAGS.inodesStored | FLAGS.dataStored | FLAGS.fragmentsStored | FLAGS.xattrsStored;
  return (
    FLAGS.exportable |
    (isCompressed ? 0 : stored | FLAGS.idsStored) |
    (hasFragments ? 0 : FLAGS.noFragments) |
    (hasXattrs ? 0 : FLAGS.noXattrs)
  );
}

function bytesOf(array: Uint32Array | BigUint64Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

/** The next multiple of `alignment`. */
export function aligned(position: number, alignment: number): number {
  return Math.ceil(position / alignment) * alignment;
}
