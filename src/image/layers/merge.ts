/**
 * Applies the layers of an image one over the other, as Apptainer does it (umoci's oci/layer/tar_extract.go): each entry in
 * the archive's order, on a tree in memory instead of a disk.
 *
 * - An entry replaces what has its name, except that a directory over a directory keeps what is in it.
 * - The way to an entry follows symbolic links, inside the root only; what is not there on the way becomes a directory.
 * - `.wh.NAME` removes NAME, `.wh..wh..opq` everything in its directory, of the layers below: what the same layer brought stays.
 */
import { malformed } from '../binary.ts';
import type { DirectoryNode, LeafNode, Piece, TreeNode } from '../squashfs/nodes.ts';
import type { FileEntry, HardLinkEntry, LayerEntry, LeafEntry } from './entry.ts';
import { beyondLimit, LAYER_LIMITS, type LayerLimits } from './limits.ts';

const WHITEOUT = '.wh.';
const OPAQUE = '.wh..wh..opq';
/** Linux's NAME_MAX and PATH_MAX: no disk could hold more, so no image that runs has it. */
const MAX_NAME = 255;
const MAX_PATH = 4096;
const MAX_TARGET = 4095;
const MAX_DEPTH = MAX_PATH / 2;
/** Symbolic links that are followed on one way, as in the library that umoci uses. */
const MAX_LINKS = 255;
/** Steps along the targets of symbolic links, in all. Real images need some for each entry at most. */
const MAX_STEPS = 20_000_000;

/** A name in the tree. */
export interface TreeEntry {
  readonly node: Directory | LeafNode;
  /** The number of the last layer that brought this, or something below it. */
  layer: number;
}

/** A directory of the tree that is being merged. */
export interface Directory extends DirectoryNode {
  readonly entries: Map<string, TreeEntry>;
  /** Undefined for the root. */
  readonly parent: Directory | undefined;
  /** Its own name in `parent`. */
  readonly self: TreeEntry;
  readonly depth: number;
  /** The number of the last layer that removed everything of the layers below. */
  cleaned: number;
}

export class LayerTree {
  /** Mode 0755 of root, at `modified`, until a layer says otherwise. */
  readonly root: Directory;
  readonly #limits: LayerLimits;
  #layer = 0;
  #entries = 0;
  #steps = 0;

  /** @param modified seconds since 1970, of the root where no layer says it. */
  constructor(modified: number, limits: LayerLimits = LAYER_LIMITS) {
    this.root = newDirectory(undefined, 0, { mode: 0o755, uid: 0, gid: 0, modified });
    this.#limits = limits;
  }

  /**
   * Applies the next layer. Its number as a source of pieces is how many came before.
   * @throws {SregistryError} NOT_AN_IMAGE if an entry cannot be applied, NOT_PRESENTABLE beyond a limit. The tree is of no use
   *   afterwards.
   */
  apply(entries: Iterable<LayerEntry>): void {
    const source = this.#layer;
    this.#layer += 1;
    for (const entry of entries) {
      this.#entries += 1;
      if (this.#entries > this.#limits.entries)
        throw beyondLimit(`The image's layers have more than ${this.#limits.entries} entries`);
      this.#apply(entry, source);
    }
  }

  /**
   * What is at a path; undefined if nothing is. Symbolic links on the way are followed, and with `follow` the last one too.
   */
  find(path: string, last?: 'follow'): TreeNode | undefined {
    const components = componentsOf(path, this.#where);
    const name = components.pop();
    const directory = this.#walk(components, path, NOTHING);
    const node = name === undefined ? this.root : directory?.entries.get(name)?.node;
    if (node?.type !== 'symlink' || last === undefined) return node;
    return this.#walkTo(path);
  }

  /** Makes directories of mode 0755 along a path where no directories are; symbolic links are followed. */
  makeDirectory(path: string, modified: number): Directory {
    return this.#make(componentsOf(path, this.#where), path, modified);
  }

  /** Puts a node at a path in place of what is there. */
  put(path: string, node: LeafNode): void {
    const components = componentsOf(path, this.#where);
    const name = components.pop() as string;
    this.#set(this.#make(components, path, node.modified), name, node);
  }

  #apply(entry: LayerEntry, source: number): void {
    const { path } = entry;
    const components = componentsOf(path, this.#where);
    const name = components.pop();
    if (name === undefined) {
      this.#applyRoot(entry);
    } else if (name.startsWith(WHITEOUT)) {
      this.#whiteout(this.#walk(components, path, NOTHING), name, path);
    } else {
      const directory = this.#make(components, path, entry.modified);
      if (entry.type === 'directory') this.#directory(directory, name, entry);
      else if (entry.type === 'hard-link') this.#hardLink(directory, name, entry);
      else this.#set(directory, name, this.#toLeaf(entry, source));
    }
  }

  #applyRoot(entry: LayerEntry): void {
    if (entry.type !== 'directory')
      throw malformed(`${this.#where(entry.path)} replaces the root by something else`);
    assign(this.root, entry);
  }

  #directory(parent: Directory, name: string, entry: LayerEntry): void {
    const existing = parent.entries.get(name)?.node;
    if (existing?.type === 'directory') {
      assign(existing, entry);
      this.#touch(existing);
    } else {
      this.#makeIn(parent, name, entry);
    }
  }

  #hardLink(directory: Directory, name: string, { path, target }: HardLinkEntry): void {
    // What has the name goes first: a link to itself finds nothing, as on a disk.
    directory.entries.delete(name);
    const node = this.find(target);
    if (node === undefined)
      throw malformed(`${this.#where(path)} is a hard link to ${show(target)}, which is not there`);
    if (node.type === 'directory')
      throw malformed(`${this.#where(path)} is a hard link to ${show(target)}, a directory`);
    this.#set(directory, name, node);
  }

  #whiteout(directory: Directory | undefined, whiteout: string, path: string): void {
    const name = whiteout.slice(WHITEOUT.length);
    if (name === '' || name === '.' || name === '..')
      throw malformed(`${this.#where(path)} removes a file without a name`);
    if (directory === undefined) return;
    if (whiteout === OPAQUE) {
      this.#clean(directory);
      return;
    }
    const entry = directory.entries.get(name);
    if (entry === undefined) return;
    if (entry.layer !== this.#layer) directory.entries.delete(name);
    else if (entry.node.type === 'directory') this.#clean(entry.node);
  }

  /** Removes what this layer did not bring. */
  #clean(directory: Directory): void {
    const left = [directory];
    for (let next = left.pop(); next !== undefined; next = left.pop()) {
      if (next.cleaned === this.#layer) continue;
      next.cleaned = this.#layer;
      for (const [name, { node, layer }] of next.entries) {
        if (layer !== this.#layer) next.entries.delete(name);
        else if (node.type === 'directory') left.push(node);
      }
    }
  }

  #set(directory: Directory, name: string, node: LeafNode): void {
    directory.entries.set(name, { node, layer: this.#layer });
    this.#touch(directory);
  }

  #makeIn(parent: Directory, name: string, attributes: NewAttributes): Directory {
    if (name.length > MAX_NAME) throw beyondLimit(`Layer ${this.#layer} has a name of ${name.length} bytes`);
    if (parent.depth >= MAX_DEPTH)
      throw beyondLimit(`Layer ${this.#layer} nests more than ${MAX_DEPTH} directories`);
    const made = newDirectory(parent, this.#layer, attributes);
    parent.entries.set(name, made.self);
    this.#touch(parent);
    return made;
  }

  /** This layer brought something below a directory, so it and those above it are not the lower layers' any more. */
  #touch(directory: Directory): void {
    for (
      let at: Directory | undefined = directory;
      at !== undefined && at.self.layer !== this.#layer;
      at = at.parent
    )
      at.self.layer = this.#layer;
  }

  /** The directory at the end of a way. What is missing on it is made, what is no directory replaced by one. */
  #make(components: string[], path: string, modified: number): Directory {
    const attributes = { mode: 0o755, uid: 0, gid: 0, modified };
    return this.#walk(components, path, (parent, name) =>
      this.#makeIn(parent, name, attributes),
    ) as Directory;
  }

  /**
   * The directory at the end of a way, as the kernel would go it with the tree's root as its root.
   * @param components are used up.
   * @param missing is asked where the way does not go on; undefined ends it.
   */
  #walk(
    components: string[],
    path: string,
    missing: (parent: Directory, name: string, isLast: boolean) => Directory | undefined,
  ): Directory | undefined {
    let directory = this.root;
    let links = 0;
    const left = components.reverse();
    for (let name = left.pop(); name !== undefined; name = left.pop()) {
      if (name === '' || name === '.') continue;
      if (name === '..') {
        directory = directory.parent ?? directory;
        continue;
      }
      const node: TreeEntry['node'] | undefined = directory.entries.get(name)?.node;
      if (node?.type === 'directory') {
        directory = node;
      } else if (node?.type === 'symlink') {
        links += 1;
        if (links > MAX_LINKS) throw malformed(`${this.#where(path)} lies behind a loop of symbolic links`);
        const target = node.target.split('/');
        this.#steps += target.length;
        if (this.#steps > MAX_STEPS)
          throw beyondLimit(`Layer ${this.#layer} leads through too many symbolic links`);
        if (node.target.startsWith('/')) directory = this.root;
        for (let i = target.length - 1; i >= 0; i--) left.push(target[i] as string);
      } else {
        const made = missing(directory, name, left.length === 0);
        if (made === undefined) return undefined;
        directory = made;
      }
    }
    return directory;
  }

  /** What is at a path, every symbolic link followed. */
  #walkTo(path: string): TreeNode | undefined {
    let found: TreeNode | undefined;
    const directory = this.#walk(componentsOf(path, this.#where), path, (parent, name, isLast) => {
      if (isLast) found = parent.entries.get(name)?.node;
      return undefined;
    });
    return directory ?? found;
  }

  #toLeaf(entry: LeafEntry, source: number): LeafNode {
    const { mode, uid, gid, modified } = entry;
    const attributes = { mode, uid, gid, modified, xattrs: keptXattrs(entry.xattrs) };
    switch (entry.type) {
      case 'file':
        return { type: 'file', ...attributes, pieces: piecesOf(entry, source) };
      case 'symlink':
        if (entry.target === '' || entry.target.length > MAX_TARGET)
          throw malformed(
            `${this.#where(entry.path)} is a symbolic link with a target of ${entry.target.length} bytes`,
          );
        return { type: 'symlink', ...attributes, mode: 0o777, target: entry.target };
      case 'fifo':
        return { type: 'fifo', ...attributes };
      default:
        return { type: entry.type, ...attributes, major: entry.major, minor: entry.minor };
    }
  }

  readonly #where = (path: string): string => `Layer ${this.#layer}: ${show(path)}`;
}

const NOTHING = () => undefined;

type NewAttributes = Pick<LayerEntry, 'mode' | 'uid' | 'gid' | 'modified' | 'xattrs'>;

/**
 * The parts of a path between its slashes, `.` and `..` done away with.
 * @throws {SregistryError} NOT_AN_IMAGE if it leads out of the root or is longer than a path can be.
 */
function componentsOf(path: string, where: (path: string) => string): string[] {
  if (path.length > MAX_PATH) throw malformed(`${where(path)} is a path of ${path.length} bytes`);
  const components: string[] = [];
  for (const part of path.split('/')) {
    if (part === '' || part === '.') continue;
    if (part.length > MAX_NAME) throw malformed(`${where(path)} has a name of ${part.length} bytes`);
    if (part !== '..') components.push(part);
    else if (components.pop() === undefined) throw malformed(`${where(path)} leads out of the image`);
  }
  return components;
}

/** A byte string for a message: as text, shortened. */
function show(bytes: string): string {
  const text = Buffer.from(bytes, 'latin1').toString();
  return JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}...` : text);
}

/** Of this machine and not of the image, so umoci leaves them out too. */
const FOREIGN_XATTRS: ReadonlySet<string> = new Set(['security.selinux', 'system.nfs4_acl']);

function keptXattrs(xattrs: LayerEntry['xattrs']): LayerEntry['xattrs'] {
  if (xattrs === undefined) return undefined;
  return Object.fromEntries(Object.entries(xattrs).filter(([name]) => !FOREIGN_XATTRS.has(name)));
}

function piecesOf({ size, offset, ranges }: FileEntry, source: number): Piece[] {
  if (ranges === undefined) return size === 0 ? [] : [{ length: size, source, offset }];
  const pieces: Piece[] = [];
  let [at, from] = [0, offset];
  for (const [start, length] of ranges) {
    if (start > at) pieces.push({ length: start - at });
    pieces.push({ length, source, offset: from });
    [at, from] = [start + length, from + length];
  }
  if (size > at) pieces.push({ length: size - at });
  return pieces;
}

function newDirectory(
  parent: Directory | undefined,
  layer: number,
  { mode, uid, gid, modified, xattrs }: NewAttributes,
): Directory {
  const self = { layer } as { node: Directory; layer: number };
  const depth = parent === undefined ? 0 : parent.depth + 1;
  const entries = new Map<string, TreeEntry>();
  const directory: Directory = {
    type: 'directory',
    mode,
    uid,
    gid,
    modified,
    xattrs: keptXattrs(xattrs),
    entries,
    parent,
    self,
    depth,
    cleaned: layer,
  };
  self.node = directory;
  return directory;
}

function assign(node: Directory, { mode, uid, gid, modified, xattrs }: NewAttributes): void {
  Object.assign(node, { mode, uid, gid, modified, xattrs: keptXattrs(xattrs) });
}
