import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isError } from '../../../src/base/errors.ts';
import type { LayerEntry } from '../../../src/image/layers/entry.ts';
import { LAYER_LIMITS } from '../../../src/image/layers/limits.ts';
import { LayerTree } from '../../../src/image/layers/merge.ts';
import { describeSquashFs } from '../../../src/image/squashfs/describe.ts';
import type { TreeNode } from '../../../src/image/squashfs/nodes.ts';

/**
 * Entries in short: `dir/`, `file`, `link -> target`, `hard = target`.
 */
function entry(short: string, size = 1): LayerEntry {
  const attributes = { mode: 0o644, uid: 0, gid: 0, modified: 0 };
  const [link, target] = short.split(' -> ');
  if (target !== undefined) return { type: 'symlink', ...attributes, path: link as string, target };
  const [hard, other] = short.split(' = ');
  if (other !== undefined) return { type: 'hard-link', ...attributes, path: hard as string, target: other };
  if (short.endsWith('/')) return { type: 'directory', ...attributes, path: short };
  return { type: 'file', ...attributes, path: short, size, offset: 512 };
}

function merge(...layers: string[][]): LayerTree {
  const tree = new LayerTree(0);
  for (const layer of layers) tree.apply(layer.map((short) => entry(short)));
  return tree;
}

/** All leaves, and directories without any, in the same short form; files with the number of the layer that brought them. */
function leaves(node: TreeNode, path = ''): string[] {
  if (node.type === 'directory') {
    const below = [...node.entries].flatMap(([name, { node: child }]) => leaves(child, `${path}/${name}`));
    return below.length > 0 ? below.sort() : [`${path}/`];
  }
  if (node.type === 'symlink') return [`${path} -> ${node.target}`];
  const [piece] = node.type === 'file' ? node.pieces : [];
  return [`${path.slice(1)}:${piece !== undefined && 'source' in piece ? piece.source + 1 : '-'}`];
}

const shown = (tree: LayerTree) => leaves(tree.root).map((leaf) => leaf.replace(/^\//, ''));

describe('layers', () => {
  it.each<[string, string[][], string[]]>([
    ['a later file replaces an earlier one', [['a', 'b'], ['a']], ['a:2', 'b:1']],
    [
      'a directory over a directory keeps what is in it',
      [
        ['d/', 'd/a'],
        ['d/', 'd/b'],
      ],
      ['d/a:1', 'd/b:2'],
    ],
    ['a file replaces a directory', [['d/a'], ['d']], ['d:2']],
    ['a directory replaces a file', [['d'], ['d/']], ['d/']],
    [
      'a directory replaces a link to a directory',
      [
        ['x/a', 'd -> x'],
        ['d/', 'd/b'],
      ],
      ['d/b:2', 'x/a:1'],
    ],
    ['a whiteout removes a file', [['d/a', 'd/b'], ['d/.wh.a']], ['d/b:1']],
    ['a whiteout removes a directory', [['d/a/b/c', 'x'], ['.wh.d']], ['x:1']],
    ['a whiteout of what is not there does nothing', [['a'], ['.wh.b', 'c/.wh.d']], ['a:1']],
    ['a whiteout leaves what its own layer brought before', [['a'], ['a', '.wh.a']], ['a:2']],
    ['a whiteout leaves what its own layer brings behind it', [['a'], ['.wh.a', 'a']], ['a:2']],
    ['a whiteout removes the old around the new', [['d/old'], ['d/new', '.wh.d']], ['d/new:2']],
    [
      'an opaque directory hides what was in it',
      [
        ['d/a', 'd/e/b'],
        ['d/.wh..wh..opq', 'd/c'],
      ],
      ['d/c:2'],
    ],
    [
      'an opaque mark may come last',
      [
        ['d/a', 'd/e/b'],
        ['d/e/c', 'd/.wh..wh..opq'],
      ],
      ['d/e/c:2'],
    ],
    ['an opaque mark alone leaves an empty directory', [['d/a'], ['d/.wh..wh..opq']], ['d/']],
    ['a hard link keeps a file that a later layer removes', [['a'], ['b = a'], ['.wh.a']], ['b:1']],
    ['a hard link keeps the old contents', [['a'], ['b = a'], ['a']], ['a:3', 'b:1']],
    ['a hard link to a symbolic link is one too', [['l -> a', 'm = l']], ['l -> a', 'm -> a']],
    ['a whiteout of the target leaves the link of the same layer', [['a'], ['b = a', '.wh.a']], ['b:1']],
    [
      'the way follows links of lower layers',
      [['usr/lib/', 'lib -> usr/lib'], ['lib/a']],
      ['lib -> usr/lib', 'usr/lib/a:2'],
    ],
    ['an absolute link is one from the root', [['x/', 'd/l -> /x'], ['d/l/a']], ['d/l -> /x', 'x/a:2']],
    ['a link cannot lead out', [['x/l -> ../../../x'], ['x/l/l2/a']], ['x/l -> ../../../x', 'x/l2/a:2']],
    [
      'a whiteout follows links on the way, not the last one',
      [
        ['x/a', 'l -> x'],
        ['l/.wh.a', '.wh.l'],
      ],
      ['x/'],
    ],
    ['a dangling link on the way is filled', [['l -> new'], ['l/a']], ['l -> new', 'new/a:2']],
    ['a file on the way makes room', [['f'], ['f/a']], ['f/a:2']],
    [
      'paths are the same with ./, /, // and ..',
      [['./a', '/b', 'c//d', 'e/../f', './'], ['a/.']],
      ['a:2', 'b:1', 'c/d:1', 'f:1'],
    ],
  ])('%s', (_, layers, expected) => {
    expect(shown(merge(...layers))).toEqual(expected);
  });

  it('names that are special in JavaScript are names like others', () => {
    expect(shown(merge(['__proto__/constructor', 'toString'], ['.wh.toString']))).toEqual([
      '__proto__/constructor:1',
    ]);
  });

  it.each<[string, string[][]]>([
    ['leads out of the image', [['../a']]],
    ['leads out of the image', [['a/../../b']]],
    ['leads out of the image', [['a', 'b = ../../a']]],
    ['removes a file without a name', [['a/.wh.']]],
    ['removes a file without a name', [['a/.wh..']]],
    ['removes a file without a name', [['a/.wh...']]],
    ['which is not there', [['a = b']]],
    ['which is not there', [['a'], ['a = a']]],
    ['a directory', [['d/', 'a = d']]],
    ['loop of symbolic links', [['a -> b', 'b -> a', 'a/c']]],
    ['replaces the root', [['.']]],
    ['a name of 256 bytes', [['x'.repeat(256)]]],
    ['a path of 5000 bytes', [['x/'.repeat(2500)]]],
    ['a target of 0 bytes', [['a -> ']]],
    ['a target of 5000 bytes', [[`a -> ${'x'.repeat(5000)}`]]],
    ['a name of 300 bytes', [[`a -> ${'x'.repeat(300)}`, 'a/b']]],
  ])('an entry that %s is an error', (message, layers) => {
    let error: unknown;
    try {
      merge(...layers);
    } catch (thrown) {
      error = thrown;
    }
    expect(isError(error, 'NOT_AN_IMAGE', 'NOT_PRESENTABLE')).toBe(true);
    expect((error as Error).message).toContain(message);
    expect((error as Error).message).toMatch(/^Layer \d/);
  });

  it('too many entries, too deep directories and too many steps are errors', () => {
    const limits = { ...LAYER_LIMITS, entries: 2 };
    expect(() => new LayerTree(0, limits).apply([entry('a'), entry('b'), entry('c')])).toThrow(
      'more than 2 entries',
    );
    const deep = new LayerTree(0);
    const step = 'x/'.repeat(1000);
    expect(() =>
      deep.apply([
        entry(step),
        entry(`l -> ${step}`),
        entry(`l/${step}`),
        entry(`m -> l/${step}`),
        entry(`m/${step}`),
      ]),
    ).toThrow('nests more than 2048 directories');
    const winding = new LayerTree(0);
    const up = `a${'/../a'.repeat(800)}`;
    const links = [
      entry('a/'),
      ...Array.from({ length: 100 }, (_, i) => entry(`${i} -> ${i === 0 ? up : `${i - 1}/../${up}`}`)),
    ];
    const through = Array.from({ length: 1000 }, () => entry('99/f'));
    expect(() => winding.apply([...links, ...through])).toThrow('too many symbolic links');
  });

  it('any sequence of entries gives a tree that can be written, or a clear error', () => {
    const name = fc.constantFrom('a', 'b', 'c', '..', '.', '', '.wh.a', '.wh.b', '.wh..wh..opq', '.wh.');
    const path = fc.array(name, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));
    const one = fc.oneof(
      path,
      path.map((at) => `${at}/`),
      fc.tuple(path, path).map(([at, target]) => `${at} -> ${target}`),
      fc.tuple(path, path).map(([at, target]) => `${at} = ${target}`),
    );
    let merged = 0;
    fc.assert(
      fc.property(fc.array(fc.array(one, { maxLength: 8 }), { maxLength: 4 }), (layers) => {
        try {
          const tree = merge(...layers);
          describeSquashFs(
            tree.root,
            layers.map(() => 4096),
            0,
          );
          merged += 1;
        } catch (error) {
          expect(isError(error, 'NOT_AN_IMAGE', 'NOT_PRESENTABLE'), String(error)).toBe(true);
        }
      }),
      { numRuns: 2000 },
    );
    expect(merged).toBeGreaterThan(100);
  });
});

it('extended attributes that are of the machine are left out', () => {
  const tree = new LayerTree(0);
  const xattrs = { 'security.selinux': 'x', 'security.capability': 'y' };
  tree.apply([
    { ...entry('a'), xattrs },
    { ...entry('d/'), xattrs },
    { ...entry('d/'), path: 'd/' },
  ]);
  expect(tree.find('a')?.xattrs).toEqual({ 'security.capability': 'y' });
  expect(tree.find('d')?.xattrs).toBeUndefined();
});

it('the root has the attributes that a layer gives it', () => {
  const tree = new LayerTree(7);
  expect(tree.root).toMatchObject({ mode: 0o755, modified: 7 });
  tree.apply([{ ...entry('./'), mode: 0o700, uid: 3 }]);
  expect(tree.root).toMatchObject({ mode: 0o700, uid: 3, modified: 0 });
});
