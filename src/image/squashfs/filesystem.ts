/**
 * A SquashFS 4 image read in place: look up a path, read a file, list a directory. Nothing is extracted, and only the metadata
 * blocks on the way to a file are read, so the source may be remote.
 */
import { posix } from 'node:path';
import { malformed, startsWith } from '../binary.ts';
import { type ByteSource, readExactly } from '../source.ts';
import { DataReader } from './data.ts';
import { type DirectoryEntry, MAX_LISTING, parseListing } from './directory.ts';
import { type DirectoryInode, type FileType, type Inode, readInode } from './inode.ts';
import { METADATA_SIZE, MetadataReader } from './metadata.ts';
import { parseSuperblock, SQUASHFS_MAGIC, SUPERBLOCK_SIZE, type Superblock } from './superblock.ts';

/** As many symbolic links as the kernel follows for one path. */
const MAX_SYMLINKS = 40;
/** Linux's PATH_MAX: no file can be reached deeper. */
const MAX_PATH = 4096;
/** Tables up to this size are read at once. They lie together at the end of the image. */
const TABLES_AT_ONCE = 256 * 1024;

export interface FileEntry {
  /** From the root of the image, with a leading `/`. */
  readonly path: string;
  readonly type: FileType;
  /** Permission bits. */
  readonly mode: number;
  /** Bytes of a file, 0 of anything else. */
  readonly size: number;
  readonly modified: Date;
  /** Of a symbolic link. */
  readonly target?: string;
}

type InodePlace = DirectoryEntry['inode'];

export class SquashFs {
  readonly superblock: Superblock;
  readonly #metadata: MetadataReader;
  readonly #data: DataReader;

  private constructor(source: ByteSource, superblock: Superblock) {
    this.superblock = superblock;
    this.#metadata = new MetadataReader(source, superblock.compressor);
    this.#data = new DataReader(source, this.#metadata, superblock);
  }

  /**
   * @param source the file system from its first byte on; best one that keeps what it has read.
   * @throws {SregistryError} NOT_AN_IMAGE, CORRUPT
   */
  static async open(source: ByteSource): Promise<SquashFs> {
    const head = await readExactly(source, 0, SUPERBLOCK_SIZE, 'the SquashFS superblock');
    if (!startsWith(head, SQUASHFS_MAGIC)) throw malformed('There is no SquashFS');
    const superblock = parseSuperblock(head);
    const tables = superblock.bytesUsed - superblock.inodeTable;
    if (tables <= TABLES_AT_ONCE) await source.read(superblock.inodeTable, tables);
    return new SquashFs(source, superblock);
  }

  /** The contents of a file; undefined if it does not exist. Follows symbolic links within the image. */
  async readFile(path: string, limit: number): Promise<Uint8Array | undefined> {
    const inode = await this.#resolve(path);
    return inode?.type === 'file' ? this.#data.read(inode, limit) : undefined;
  }

  /** The names in a directory in the image's order; undefined if it does not exist. */
  async list(path: string): Promise<string[] | undefined> {
    const inode = await this.#resolve(path);
    if (inode?.type !== 'directory') return undefined;
    const names: string[] = [];
    for (const { name } of await this.#entries(inode)) names.push(name);
    return names;
  }

  /** The entry at a path; undefined if it does not exist. Follows symbolic links. */
  async stat(path: string): Promise<FileEntry | undefined> {
    const inode = await this.#resolve(path);
    return inode === undefined ? undefined : toEntry(absolute(path), inode);
  }

  /** Everything below a path, itself included, parents first. A directory that contains itself is an error. */
  async *walk(path: string): AsyncGenerator<FileEntry> {
    const start = await this.#resolve(path);
    const left = start === undefined ? [] : [{ path: absolute(path), inode: start }];
    const directories = new Set<string>();
    for (let next = left.pop(); next !== undefined; next = left.pop()) {
      yield toEntry(next.path, next.inode);
      if (next.inode.type !== 'directory') continue;
      for (const child of (await this.#children(next.path, next.inode, directories)).reverse())
        left.push(child);
    }
  }

  /** @param seen places of the directories visited so far. Directories have no hard links, so each is visited once. */
  async #children(parent: string, directory: DirectoryInode, seen: Set<string>) {
    const children: { path: string; inode: Inode }[] = [];
    for (const entry of await this.#entries(directory)) {
      const path = parent === '/' ? `/${entry.name}` : `${parent}/${entry.name}`;
      if (path.length > MAX_PATH) throw malformed('Directories in the image are nested too deep');
      const inode = await this.#inode(entry.inode);
      const place = `${entry.inode.block}:${entry.inode.offset}`;
      if (inode.type === 'directory' && seen.has(place))
        throw malformed(`The directory ${path} of the image is in two places`);
      if (inode.type === 'directory') seen.add(place);
      children.push({ path, inode });
    }
    return children;
  }

  /** Walks the components; a symbolic link puts its target's components in front of what is left. */
  async #resolve(path: string): Promise<Inode | undefined> {
    const root = await this.#root();
    const parents: DirectoryInode[] = [];
    let current: Inode = root;
    let links = 0;
    const left = path.split('/').reverse();
    for (let name = left.pop(); name !== undefined; name = left.pop()) {
      if (name === '' || name === '.') continue;
      if (current.type !== 'directory') return undefined;
      if (name === '..') {
        current = parents.pop() ?? root;
        continue;
      }
      const child = await this.#child(current, name);
      if (child === undefined) return undefined;
      if (child.type !== 'symlink') {
        parents.push(current);
        current = child;
        continue;
      }
      if (++links > MAX_SYMLINKS) return undefined;
      if (child.target.startsWith('/')) {
        current = root;
        parents.length = 0;
      }
      left.push(...child.target.split('/').reverse());
    }
    return current;
  }

  async #child(directory: DirectoryInode, name: string): Promise<Inode | undefined> {
    for (const entry of await this.#entries(directory)) {
      if (entry.name === name) return this.#inode(entry.inode);
    }
    return undefined;
  }

  async #entries({ block, offset, size }: DirectoryInode): Promise<Iterable<DirectoryEntry>> {
    if (size > MAX_LISTING) throw malformed(`A SquashFS directory claims a listing of ${size} bytes`);
    const cursor = this.#metadata.cursor(this.superblock.directoryTable + block, offset);
    return parseListing(await cursor.read(size));
  }

  async #root(): Promise<DirectoryInode> {
    const place = this.superblock.rootInode;
    const root = await this.#inode({ block: Number(place >> 16n), offset: Number(place & 0xffffn) });
    if (root.type !== 'directory') throw malformed('The root of the SquashFS is not a directory');
    return root;
  }

  #inode({ block, offset }: InodePlace): Promise<Inode> {
    const position = this.superblock.inodeTable + block;
    if (position >= this.superblock.bytesUsed || offset >= METADATA_SIZE)
      throw malformed(`A SquashFS inode lies outside the image, at ${position}`);
    return readInode(this.#metadata.cursor(position, offset));
  }
}

function absolute(path: string): string {
  return posix.resolve('/', path);
}

function toEntry(path: string, inode: Inode): FileEntry {
  const { type, mode, modified } = inode;
  const size = inode.type === 'file' ? inode.size : 0;
  return { path, type, mode, size, modified, ...(inode.type === 'symlink' ? { target: inode.target } : {}) };
}
