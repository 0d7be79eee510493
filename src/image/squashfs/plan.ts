/** The order in which a tree is written: each node's number, links and, of a directory, its names sorted as bytes. */
import { SregistryError } from '../../base/errors.ts';
import { type DirectoryNode, type FileNode, sizeOfPieces, type TreeNode } from './nodes.ts';

export interface Planned {
  /** From 1 on. The entries of one directory have numbers one behind the other. */
  readonly number: number;
  /** Names of a file; of a directory 2 and one for each directory in it. */
  links: number;
  /** The directory's number that `..` names; 0 of anything else. */
  readonly parent: number;
  /** Of a directory, sorted. */
  readonly entries: readonly (readonly [name: string, node: TreeNode])[];
}

export interface Plan {
  readonly root: DirectoryNode;
  readonly nodes: ReadonlyMap<TreeNode, Planned>;
  /** Every file once, in the order of first names. */
  readonly files: readonly FileNode[];
}

/**
 * Bytes of all files together, holes included: 1 TiB. Sparse files claim any size for nothing, and each of their blocks takes
 * memory.
 */
const MAX_CONTENTS = 2 ** 40;

/**
 * The same for equal trees, whatever the order in which their entries were added.
 * @throws {SregistryError} NOT_PRESENTABLE if the files claim to be impossibly large.
 */
export function planTree(root: DirectoryNode): Plan {
  const nodes = new Map<TreeNode, Planned>();
  const files: FileNode[] = [];
  let contents = 0;
  const add = (node: TreeNode, parent: number): void => {
    const known = nodes.get(node);
    if (known !== undefined) {
      if (node.type === 'directory')
        throw new SregistryError('INTERNAL', 'A directory of a tree has two names');
      known.links += 1;
      return;
    }
    const number = nodes.size + 1;
    if (node.type === 'file') {
      files.push(node);
      contents += sizeOfPieces(node.pieces);
      if (contents > MAX_CONTENTS)
        throw new SregistryError(
          'NOT_PRESENTABLE',
          `The image's files claim more than ${MAX_CONTENTS} bytes in all`,
        );
    }
    if (node.type !== 'directory') {
      nodes.set(node, { number, links: 1, parent: 0, entries: NOTHING });
      return;
    }
    const entries = [...node.entries].map(([name, entry]) => [name, entry.node] as const);
    entries.sort(([a], [b]) => (a < b ? -1 : 1));
    let links = 2;
    for (const [, child] of entries) if (child.type === 'directory') links += 1;
    nodes.set(node, { number, links, parent, entries });
  };
  add(root, 0);
  const left: DirectoryNode[] = [root];
  for (let next = left.pop(); next !== undefined; next = left.pop()) {
    const { number, entries } = nodes.get(next) as Planned;
    const below: DirectoryNode[] = [];
    for (const [, node] of entries) {
      add(node, number);
      if (node.type === 'directory') below.push(node);
    }
    for (const node of below.reverse()) left.push(node);
  }
  return { root, nodes, files };
}

const NOTHING: Planned['entries'] = [];
