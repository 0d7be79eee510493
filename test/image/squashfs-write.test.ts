/** What is written, read by our own reader; test/image/layers/image.test.ts has the other readers. */
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { assembledSource } from '../../src/image/assembled.ts';
import { bytesSource } from '../../src/image/source.ts';
import { describeSquashFs, LAYOUT } from '../../src/image/squashfs/describe.ts';
import { SquashFs } from '../../src/image/squashfs/filesystem.ts';
import type { DirectoryNode, Piece, TreeNode } from '../../src/image/squashfs/nodes.ts';

const attributes = { mode: 0o644, uid: 0, gid: 0, modified: 1_600_000_000 };
const file = (...pieces: Piece[]): TreeNode => ({ type: 'file', ...attributes, pieces });
const directory = (entries: Record<string, TreeNode>): DirectoryNode => ({
  type: 'directory',
  ...attributes,
  mode: 0o755,
  entries: new Map(Object.entries(entries).map(([name, node]) => [name, { node }])),
});

const SOURCE = Buffer.from(Array.from({ length: 700_000 }, (_, i) => (i * 7919) >>> 3));
const sources = [bytesSource(SOURCE), bytesSource(Buffer.alloc(5000, 'b'))];
const sizes = sources.map(({ size }) => size);

function image(root: DirectoryNode) {
  return assembledSource(describeSquashFs(root, sizes, 1_700_000_000), sources);
}

it('files of ranges, bytes and holes are read back', async () => {
  const piece = fc.oneof(
    fc
      .tuple(fc.nat(300_000), fc.nat(300_000))
      .map(([offset, length]): Piece => ({ source: 0, offset, length })),
    fc.uint8Array({ maxLength: 50 }).map((bytes): Piece => ({ length: bytes.length, bytes })),
    fc.nat(400_000).map((length): Piece => ({ length })),
  );
  const files = fc.array(fc.array(piece, { maxLength: 4 }), { minLength: 1, maxLength: 5 });
  const expected = (pieces: readonly Piece[]) =>
    Buffer.concat(
      pieces.map((part) => {
        if ('bytes' in part) return part.bytes;
        if ('source' in part) return SOURCE.subarray(part.offset, part.offset + part.length);
        return Buffer.alloc(part.length);
      }),
    );
  await fc.assert(
    fc.asyncProperty(files, async (all) => {
      const root = directory(Object.fromEntries(all.map((pieces, i) => [`f${i}`, file(...pieces)])));
      const fs = await SquashFs.open(image(root));
      for (const [i, pieces] of all.entries()) {
        const bytes = (await fs.readFile(`/f${i}`, 10_000_000)) as Uint8Array;
        expect(Buffer.compare(bytes, expected(pieces))).toBe(0);
      }
    }),
    { numRuns: 60 },
  );
});

it('names of any bytes and directories of any size are listed in order', async () => {
  const name = fc
    .uint8Array({ minLength: 1, maxLength: 40 })
    .map((bytes) => Buffer.from(bytes).toString('latin1').replace(/[/\0]/g, '_'))
    .filter((text) => text !== '.' && text !== '..');
  const names = fc.uniqueArray(name, { maxLength: 1500, size: 'max' });
  await fc.assert(
    fc.asyncProperty(names, async (all) => {
      const root = directory({ below: directory(Object.fromEntries(all.map((one) => [one, file()]))) });
      const listed = await (await SquashFs.open(image(root))).list('/below');
      const sorted = all.map((one) => Buffer.from(one, 'latin1')).sort(Buffer.compare);
      expect(listed).toEqual(sorted.map((bytes) => bytes.toString()));
    }),
    { numRuns: 30 },
  );
});

it('the image of equal trees is the same bytes, in whatever order their names were added', async () => {
  const build = (names: string[]) =>
    image(
      directory({
        d: directory(
          Object.fromEntries(names.map((name, i) => [name, file({ source: 1, offset: i * 0, length: 9 })])),
        ),
      }),
    );
  const [one, other] = [build(['a', 'b', 'c']), build(['c', 'a', 'b'])];
  expect(await one.read(0, one.size)).toEqual(await other.read(0, other.size));
  expect(one.size % 4096).toBe(0);
});

it(`the bytes of layout ${LAYOUT} are these: a change of them needs a new number`, async () => {
  const hard = file({ source: 0, offset: 3, length: 200_000 });
  const source = image(
    directory({
      'a-directory': directory({
        'x\xff': file({ length: 3, bytes: Buffer.from('abc') }, { length: 300_000 }),
      }),
      capable: { ...file(), xattrs: { 'user.b': '2', 'security.capability': '1', 'system.dropped': '3' } },
      device: { type: 'block-device', ...attributes, uid: 5, major: 259, minor: 70000 },
      hard,
      'hard-2': hard,
      link: { type: 'symlink', ...attributes, target: 'hard' },
    }),
  );
  const hash = createHash('sha256')
    .update(await source.read(0, source.size))
    .digest('hex');
  expect(hash).toMatchInlineSnapshot(`"875d2aa093ddeb5d2d20eec4bdebdf96914539b75256c8708424abf898a0f774"`);
});

it('files that claim more than there can be are an error, not a lack of memory', () => {
  const claims = Object.fromEntries(
    Array.from({ length: 5 }, (_, i) => [`f${i}`, file({ length: 2 ** 38 })]),
  );
  expect(() => image(directory(claims))).toThrow("The image's files claim more than");
});
