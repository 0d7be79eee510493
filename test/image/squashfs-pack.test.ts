/** Ordinary images, read by unsquashfs and by our own reader. */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, openSync, readFileSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { bytesSource } from '../../src/image/source.ts';
import type { PackCompressor } from '../../src/image/squashfs/compress.ts';
import { SquashFs } from '../../src/image/squashfs/filesystem.ts';
import type { DirectoryNode, Piece, TreeNode } from '../../src/image/squashfs/nodes.ts';
import { type PackOptions, packSquashFs } from '../../src/image/squashfs/pack.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

const attributes = { mode: 0o644, uid: 1000, gid: 100, modified: 1_600_000_000 };
const TEXT = Buffer.from('all work and no play makes jack a dull boy\n'.repeat(30_000));
const NOISE = randomBytes(400_000);
const sources = [bytesSource(TEXT), bytesSource(NOISE)];

const CONTENTS: Record<string, Piece[]> = {
  text: [{ source: 0, offset: 0, length: TEXT.length }],
  noise: [{ source: 1, offset: 5, length: 300_000 }],
  block: [{ source: 0, offset: 0, length: 131_072 }],
  small: [{ source: 0, offset: 9, length: 1000 }],
  empty: [],
  holes: [{ length: 400_000 }, { source: 1, offset: 0, length: 70_000 }, { length: 600_000 }],
  zeros: [{ length: 500_000 }],
  made: [{ length: 4, bytes: Buffer.from('made') }],
};
for (let i = 0; i < 600; i++) CONTENTS[`many-${i}`] = [{ source: i % 2, offset: i, length: i * 3 }];

const root: DirectoryNode = {
  type: 'directory',
  ...attributes,
  mode: 0o755,
  entries: new Map<string, { node: TreeNode }>([
    ...Object.entries(CONTENTS).map(
      ([name, pieces]) => [name, { node: { type: 'file', ...attributes, pieces } }] as const,
    ),
    ['link', { node: { type: 'symlink', ...attributes, target: 'text', xattrs: {} } }],
    ['x', { node: { type: 'file', ...attributes, pieces: [], xattrs: { 'user.a': 'b' } } }],
  ] as [string, { node: TreeNode }][]),
};

function bytesOf(pieces: readonly Piece[]): Buffer {
  return Buffer.concat(
    pieces.map((piece) => {
      if ('bytes' in piece) return piece.bytes;
      if (!('source' in piece)) return Buffer.alloc(piece.length);
      return [TEXT, NOISE][piece.source]?.subarray(piece.offset, piece.offset + piece.length) as Buffer;
    }),
  );
}

async function pack(path: string, options: Omit<PackOptions, 'modified'>): Promise<number> {
  const file = openSync(path, 'w');
  const write = async (bytes: Uint8Array, at: number) => void writeSync(file, bytes, 0, bytes.length, at);
  try {
    return await packSquashFs(root, sources, write, { modified: 1_700_000_000, ...options });
  } finally {
    closeSync(file);
  }
}

describe.each<PackCompressor>(['gzip', 'zstd'])('a tree packed with %s', (compressor) => {
  it('is read back by unsquashfs and by us, and is smaller', async () => {
    const folder = temporaryFolder();
    const path = join(folder, 'image');
    const size = await pack(path, { compressor });
    expect(size).toBe(statSync(path).size);
    expect(size).toBeLessThan(NOISE.length * 3);
    const statistics = execFileSync('unsquashfs', ['-s', path], { encoding: 'utf8' });
    expect(statistics).toContain(`Compression ${compressor}`);
    expect(statistics).toMatch(/Number of fragments [1-9]/);
    execFileSync('unsquashfs', ['-no-progress', '-quiet', '-d', join(folder, 'out'), path]);
    const fs = await SquashFs.open(bytesSource(readFileSync(path)));
    for (const [name, pieces] of Object.entries(CONTENTS)) {
      const wanted = bytesOf(pieces);
      expect(readFileSync(join(folder, 'out', name)).equals(wanted), name).toBe(true);
      expect(wanted.equals((await fs.readFile(name, 10_000_000)) as Uint8Array), name).toBe(true);
    }
  });

  it('is the same bytes alone and while others use the threads', async () => {
    const folder = temporaryFolder();
    const paths = ['alone', 'one', 'two'].map((name) => join(folder, name)) as [string, string, string];
    await pack(paths[0], { compressor });
    await Promise.all(paths.slice(1).map((path) => pack(path, { compressor })));
    const [alone, ...together] = paths.map((path) => readFileSync(path)) as [Buffer, ...Buffer[]];
    expect(together.map((bytes) => bytes.equals(alone))).toEqual([true, true]);
  });
});

it('tells its progress, stops when told to, and throws what a source throws', async () => {
  const path = join(temporaryFolder(), 'image');
  const seen: number[] = [];
  const total = Object.values(CONTENTS).reduce((sum, pieces) => sum + bytesOf(pieces).length, 0);
  await pack(path, {
    compressor: 'gzip',
    progress: (done, all) => {
      expect(all).toBe(total);
      seen.push(done);
    },
  });
  expect(seen.at(-1)).toBe(total);
  const canceled = new AbortController();
  const progress = () => canceled.abort(new Error('enough'));
  await expect(pack(path, { compressor: 'gzip', signal: canceled.signal, progress })).rejects.toThrow(
    'enough',
  );
  const broken = [{ read: () => Promise.reject(new Error('unreadable')) }];
  const options = { compressor: 'gzip', modified: 0 } as const;
  await expect(packSquashFs(root, broken, async () => {}, options)).rejects.toThrow('unreadable');
  const short = [bytesSource(TEXT.subarray(0, 10)), bytesSource(NOISE)];
  await expect(packSquashFs(root, short, async () => {}, options)).rejects.toThrow(
    'Layer 1 ends before byte',
  );
});
