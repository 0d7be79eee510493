/** What other programs make of random layers, in the form of what we make of them. */
import { execFile } from 'node:child_process';
import type { Stats } from 'node:fs';
import { lstat, readdir, readlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { LayerEntry } from '../../src/image/layers/entry.ts';
import { sizeOfPieces, type TreeNode } from '../../src/image/squashfs/nodes.ts';
import { ociLayout } from '../image/layers/support.ts';

const run = promisify(execFile);

/** Entries as {@link listedByPython} gives them: Python takes the slashes off the end of a path. */
export function comparableEntries(entries: readonly LayerEntry[]): unknown[] {
  return entries.map((entry) => ({
    ...entry,
    path: entry.path.replace(/\/+$/, ''),
    xattrs: { ...entry.xattrs },
  }));
}

/** The entries of each archive as Python's tarfile reads them. */
export async function listedByPython(archives: readonly string[]): Promise<unknown[][]> {
  const listing = run('python3', [join(import.meta.dirname, 'list-archives.py')], { maxBuffer: 1 << 28 });
  listing.child.stdin?.end(archives.join('\n'));
  const lines = (await listing).stdout.trim().split('\n');
  return lines.map((line) => {
    const entries = JSON.parse(line) as { path: string }[];
    return entries.map((entry) => ({ ...entry, path: entry.path.replace(/\/+$/, '') }));
  });
}

/** A tree by its paths; each file that has several names tells the first. */
export type Tree = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

/** The tree that umoci unpacks; undefined where it refuses the layers. */
export async function unpackedByUmoci(layers: readonly Buffer[], folder: string): Promise<Tree | undefined> {
  const paths = layers.map((_, i) => join(folder, `${i}.tar`));
  for (const [i, layer] of layers.entries()) await writeFile(paths[i] as string, layer);
  const layout = ociLayout(join(folder, 'oci'), paths, {});
  const root = join(folder, 'root');
  try {
    await run('umoci', ['raw', 'unpack', '--image', `${layout}:latest`, root]);
  } catch {
    return undefined;
  }
  const tree: Record<string, Record<string, unknown>> = {};
  const first = new Map<number, string>();
  const visit = async (place: Buffer, path: string): Promise<void> => {
    const stats = await lstat(place);
    const { mode, uid, gid, size } = stats;
    const type = typeOf(stats);
    // The other number of the time is a float, which rounds up.
    const { mtimeNs } = await lstat(place, { bigint: true });
    tree[path] = { type, mode: mode & 0o7777, uid, gid, modified: Number(mtimeNs / 1_000_000_000n) };
    if (type === 'directory') {
      for (const name of (await readdir(place, { encoding: 'buffer' })).sort(Buffer.compare))
        await visit(Buffer.concat([place, Buffer.from('/'), name]), `${path}/${name.toString('latin1')}`);
      return;
    }
    if (!first.has(stats.ino)) first.set(stats.ino, path);
    Object.assign(tree[path] as object, { first: first.get(stats.ino) });
    if (type === 'file') Object.assign(tree[path] as object, { size });
    if (type === 'symlink')
      Object.assign(tree[path] as object, { target: await readlink(place, { encoding: 'latin1' }) });
  };
  await visit(Buffer.from(root), '');
  return tree;
}

function typeOf(stats: Stats): string {
  if (stats.isDirectory()) return 'directory';
  if (stats.isFile()) return 'file';
  if (stats.isSymbolicLink()) return 'symlink';
  if (stats.isFIFO()) return 'fifo';
  return stats.isBlockDevice() ? 'block-device' : 'character-device';
}

/** Our tree. */
export function treeOf(root: TreeNode): Tree {
  const tree: Record<string, Record<string, unknown>> = {};
  const first = new Map<TreeNode, string>();
  const visit = (node: TreeNode, path: string): void => {
    const { type, mode, uid, gid, modified } = node;
    tree[path] = { type, mode, uid, gid, modified };
    if (node.type === 'directory') {
      const entries = [...node.entries].sort(([a], [b]) => (a < b ? -1 : 1));
      for (const [name, { node: child }] of entries) visit(child, `${path}/${name}`);
      return;
    }
    if (!first.has(node)) first.set(node, path);
    Object.assign(tree[path], { first: first.get(node) });
    if (node.type === 'file') Object.assign(tree[path], { size: sizeOfPieces(node.pieces) });
    if (node.type === 'symlink') Object.assign(tree[path], { target: node.target });
  };
  visit(root, '');
  return tree;
}

/**
 * A tree without what a directory that no layer lists gets from its parent on a disk, and when it was made there: between `since`
 * and ten minutes later in either tree.
 */
export function withoutImplied(tree: Tree, other: Tree, since: number): Tree {
  const isNow = (time: unknown) => Number(time) >= since && Number(time) <= since + 600;
  return Object.fromEntries(
    Object.entries(tree).map(([path, attributes]) => {
      const { mode: _, gid: __, modified, ...rest } = attributes;
      const isImplied = rest.type === 'directory' && (isNow(modified) || isNow(other[path]?.modified));
      return [path, isImplied ? rest : attributes];
    }),
  );
}
