import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { deflateSync, zstdCompressSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { bytesSource } from '../../src/image/source.ts';
import { decompress } from '../../src/image/squashfs/codec.ts';
import { type FileEntry, SquashFs } from '../../src/image/squashfs/filesystem.ts';
import { decompressLzo } from '../../src/image/squashfs/lzo.ts';
import { patched } from './fixtures.ts';

const FOLDER = join(import.meta.dirname, '../fixtures/squashfs');
const packed = (name: string): Uint8Array => readFileSync(join(FOLDER, `${name}.sqsh`));
const open = (bytes: Uint8Array) => SquashFs.open(bytesSource(bytes));

interface Packed {
  readonly type: string;
  /** Octal. */
  readonly mode: string;
  readonly size?: number;
  readonly sha256?: string;
  readonly target?: string;
}
const TREE = JSON.parse(readFileSync(join(FOLDER, 'tree.json'), 'utf8')) as Record<string, Packed>;

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

async function walk(fs: SquashFs, path = '/'): Promise<FileEntry[]> {
  const entries: FileEntry[] = [];
  for await (const entry of fs.walk(path)) entries.push(entry);
  return entries;
}

describe.each(['gzip', 'xz', 'lzo', 'lz4', 'zstd', 'stored', 'xz-bcj'])(
  'a SquashFS packed with %s',
  (name) => {
    it('lists what was packed, with types, modes, sizes and targets', async () => {
      const entries = await walk(await open(packed(name)));
      expect(entries.filter(({ path }) => path.startsWith('/many/'))).toHaveLength(700);
      const listed = new Map(entries.map((entry) => [entry.path, entry]));
      for (const [path, { sha256: _, ...wanted }] of Object.entries(TREE)) {
        const { type, mode, size, target } = listed.get(path) ?? {};
        const found = {
          type,
          mode: mode?.toString(8),
          ...(type === 'file' && { size }),
          ...(target && { target }),
        };
        expect(found, path).toEqual(wanted);
      }
    });

    it('gives the bytes of every file', async () => {
      const fs = await open(packed(name));
      for (const [path, { type, sha256: wanted }] of Object.entries(TREE)) {
        if (type !== 'file') continue;
        const bytes = await fs.readFile(path, 1_000_000);
        expect(sha256(bytes as Uint8Array), path).toBe(wanted);
      }
    });
  },
);

it.each(['gzip', 'xz', 'lzo', 'lz4', 'zstd'])('%s is read in plain Node as in the test runner', (name) => {
  // The runner shows CommonJS packages differently.
  const script = `
    import { openFileSource } from '${join(import.meta.dirname, '../../src/image/source.ts')}';
    import { SquashFs } from '${join(import.meta.dirname, '../../src/image/squashfs/filesystem.ts')}';
    await using source = await openFileSource('${join(FOLDER, `${name}.sqsh`)}');
    const text = await (await SquashFs.open(source)).readFile('/deep/a/b/c/d/leaf', 100);
    process.stdout.write(text);`;
  expect(execFileSync(process.execPath, ['--input-type=module', '-e', script]).toString()).toBe('leaf\n');
});

describe('paths', () => {
  const fs = open(packed('gzip'));
  const read = async (path: string) => {
    const bytes = await (await fs).readFile(path, 1000);
    return bytes && Buffer.from(bytes).toString();
  };

  it.each(['/one.txt', 'one.txt', '//./one.txt', '/deep/../one.txt', '/../../one.txt'])(
    '%s leads to the file',
    async (path) => {
      expect(await read(path)).toBe('1');
    },
  );

  it.each(['relative', 'absolute', 'above', 'hard'])(
    'a symbolic link (%s) is followed within the image',
    async (link) => {
      expect(await read(`/links/${link}`)).toBe('1');
    },
  );

  it('a symbolic link to a directory is followed on the way', async () => {
    expect(await read('/links/directory/b/c/d/leaf')).toBe('leaf\n');
    expect(await read('/links/directory/../../one.txt')).toBe('1');
  });

  it.each(['/nothing', '/links/loop', '/links/dangling', '/one.txt/below', '/empty', '/fifo', '/null'])(
    '%s is no file to read',
    async (path) => {
      expect(await read(path)).toBeUndefined();
    },
  );

  it('a directory lists its names, anything else does not', async () => {
    expect(await (await fs).list('/links/directory')).toEqual(['b']);
    expect(await (await fs).list('/empty')).toEqual([]);
    expect(await (await fs).list('/one.txt')).toBeUndefined();
    expect(await (await fs).list('/nothing')).toBeUndefined();
  });

  it('a walk begins where it is told', async () => {
    const below = await walk(await fs, 'deep/a/b/c/');
    expect(below.map(({ path }) => path)).toEqual(['/deep/a/b/c', '/deep/a/b/c/d', '/deep/a/b/c/d/leaf']);
    expect(await walk(await fs, '/nothing')).toEqual([]);
  });
});

/** Reads all there is; undefined, or the error's code where there is one. */
async function exhaust(bytes: Uint8Array): Promise<string | undefined> {
  try {
    const fs = await open(bytes);
    for await (const { path, type } of fs.walk('/')) if (type === 'file') await fs.readFile(path, 100_000);
    return undefined;
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
}

describe('a damaged SquashFS', () => {
  const bytes = packed('stored');
  const superblock = new DataView(bytes.buffer, bytes.byteOffset);
  const directoryTable = Number(superblock.getBigUint64(72, true));

  it.each(['stored', 'gzip', 'zstd'])(
    'packed with %s is an error wherever it is cut before its last table',
    async (name) => {
      const whole = packed(`tiny/${name}`);
      expect(await exhaust(whole)).toBeUndefined();
      // What follows the pointers of the fragment table is not needed here: ids and the export table.
      const end = Number(new DataView(whole.buffer, whole.byteOffset).getBigUint64(80, true)) + 8;
      for (let cut = 0; cut < end; cut += cut < 100 || cut > end - 700 ? 1 : 97)
        expect(['NOT_AN_IMAGE', 'CORRUPT'], `${cut} bytes`).toContain(await exhaust(whole.subarray(0, cut)));
    },
  );

  it.each([
    ['tables behind its end', { 40: 100n }],
    ['a root inode outside', { 32: 0xffff_ffff_0000n }],
    ['a root inode in the middle of another', { 32: 3n }],
    ['an inode table in the data', { 64: 200n }],
    ['a directory table in the data', { 72: 200n }],
    ['a fragment table in the data', { 80: 200n }],
    ['fewer fragments than its files use', { 16: 1 }],
  ])('with %s is an error', async (_what, fields) => {
    expect(await exhaust(patched(bytes, fields))).toBe('NOT_AN_IMAGE');
  });

  it('whose directory contains itself is an error, not an endless walk', async () => {
    // In the stored form the entry of /empty can be found and turned to the root's inode.
    const listing = Buffer.from(bytes).indexOf('empty', directoryTable);
    expect(listing).toBeGreaterThan(0);
    const rootOffset = Number(superblock.getBigUint64(32, true) & 0xffffn);
    const rootBlock = Number(superblock.getBigUint64(32, true) >> 16n);
    const looped = new Uint8Array(bytes);
    const view = new DataView(looped.buffer);
    view.setUint16(listing - 8, rootOffset, true);
    // The header of the run, 12 bytes before its first entry, names the inode block for all of its entries.
    const run = Buffer.from(bytes).lastIndexOf('deep', listing) - 8 - 12;
    view.setUint32(run + 4, rootBlock, true);
    expect(await exhaust(looped)).toBe('NOT_AN_IMAGE');
  });

  it('with names that would lead elsewhere is an error', async () => {
    const at = Buffer.from(bytes).indexOf('one.txt', directoryTable);
    const renamed = new Uint8Array(bytes);
    renamed.set(Buffer.from('../x.sh'), at);
    expect(await exhaust(renamed)).toBe('NOT_AN_IMAGE');
  });

  it('never gives more of a file than was allowed', async () => {
    const fs = await open(bytes);
    await expect(fs.readFile('/text.txt', 100)).rejects.toThrow(/more than the 100/);
  });
});

describe('decompression', () => {
  const zeros = new Uint8Array(10_000_000);

  it.each([
    ['gzip', deflateSync(zeros)],
    ['zstd', zstdCompressSync(zeros)],
    ['lz4', Buffer.from([0x1f, 0, 1, 0, ...Array(40_000).fill(255), 0])],
    ['lzo', Buffer.from([18, 0, 0x20, ...Array(40_000).fill(0), 1, 0, 0])],
  ] as const)('of a bomb in %s stops at the limit', async (compressor, bomb) => {
    await expect(decompress(compressor, bomb, 8192)).rejects.toMatchObject({ code: 'NOT_AN_IMAGE' });
  });

  it.each(['gzip', 'zstd', 'lz4', 'lzo', 'xz'] as const)(
    'of noise in %s is an error or bounded',
    async (compressor) => {
      const noise = createHash('shake256', { outputLength: 4096 }).update(compressor).digest();
      for (let size = 0; size < 200; size++) {
        const bytes = await decompress(compressor, noise.subarray(size * 7, size * 8), 1000).catch(
          (error) => error,
        );
        if (bytes instanceof Uint8Array) expect(bytes.length).toBeLessThanOrEqual(1000);
        else expect(bytes).toMatchObject({ code: 'NOT_AN_IMAGE' });
      }
    },
  );

  it('of LZO follows the short and the long forms of its instructions', () => {
    // "abcd" as first literals, a match of 8 from 4 back (M2), the end.
    expect(
      Buffer.from(decompressLzo(Buffer.from([21, 97, 98, 99, 100, 0xec, 0, 17, 0, 0]), 100)).toString(),
    ).toBe('abcdabcdabcd');
    expect(() => decompressLzo(Buffer.from([21, 97]), 100)).toThrow(RangeError);
    expect(() => decompressLzo(Buffer.from([18, 97, 0x60, 200, 17, 0, 0]), 100)).toThrow(/match/);
  });
});
