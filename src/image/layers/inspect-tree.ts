/** What `apptainer inspect` tells of a container in layers, from its merged tree. */
import { Assembler, assembledSource } from '../assembled.ts';
import type { Attributes } from '../attributes.ts';
import { malformed } from '../binary.ts';
import { inspectRoot } from '../inspect-root.ts';
import type { ByteSource } from '../source.ts';
import { sizeOfPieces } from '../squashfs/nodes.ts';
import type { LayerTree } from './merge.ts';

/**
 * @param tree with the files that {@link addContainerFiles} adds.
 * @param sources by the number that the tree's pieces have for them.
 * @throws {SregistryError} NOT_AN_IMAGE if those files are impossibly large; errors of the sources.
 */
export async function inspectTree(
  tree: LayerTree,
  sources: readonly Pick<ByteSource, 'read'>[],
): Promise<Attributes> {
  const at = (path: string) => tree.find(Buffer.from(path).toString('latin1'), 'follow');
  return inspectRoot({
    stat: async (path) => at(path),
    list: async (path) => {
      const node = at(path);
      if (node?.type !== 'directory') return undefined;
      return [...node.entries.keys()].map((name) => Buffer.from(name, 'latin1').toString());
    },
    readFile: async (path, limit) => {
      const node = at(path);
      if (node?.type !== 'file') return undefined;
      const size = sizeOfPieces(node.pieces);
      if (size > limit) throw malformed(`${path} has ${size} bytes, more than the ${limit} it may have`);
      const whole = new Assembler();
      for (const piece of node.pieces) whole.add(piece);
      return assembledSource(whole.finish(), sources).read(0, size);
    },
  });
}
