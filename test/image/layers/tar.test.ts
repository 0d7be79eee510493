import { execFileSync } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isError } from '../../../src/base/errors.ts';
import type { FileEntry, LayerEntry } from '../../../src/image/layers/entry.ts';
import { LAYER_LIMITS } from '../../../src/image/layers/limits.ts';
import { indexTar, TarIndexer } from '../../../src/image/layers/tar.ts';
import { bytesSource } from '../../../src/image/source.ts';
import { temporaryFolder } from '../../helpers/temporary.ts';

const LONG = `${'d'.repeat(90)}/${'e'.repeat(90)}/${'n'.repeat(120)}`;

function index(archive: Uint8Array, limits = LAYER_LIMITS): readonly LayerEntry[] {
  const indexer = new TarIndexer('Layer 1', limits);
  indexer.push(archive);
  return indexer.end();
}

/** An archive by Python's tarfile: `body` is Python that calls `add(name, data, **attributes)`. */
function pythonTar(format: 'USTAR' | 'GNU' | 'PAX', body: string): Buffer {
  const script = `
import io, sys, tarfile
out = io.BytesIO()
tar = tarfile.open(fileobj=out, mode='w', format=tarfile.${format}_FORMAT)
def add(name, data=b'', **attributes):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in attributes.items(): setattr(info, key, value)
    tar.addfile(info, io.BytesIO(data))
${body}
tar.close()
sys.stdout.buffer.write(out.getvalue())`;
  return execFileSync('python3', ['-c', script], { maxBuffer: 64 * 1024 * 1024 });
}

/** A header as ustar has it, with a right checksum, and the data behind it. */
function member(
  name: string,
  type: string,
  options: { link?: string; data?: Uint8Array; patch?: [number, Uint8Array] } = {},
) {
  const { link = '', data = new Uint8Array(0), patch } = options;
  const header = Buffer.alloc(512);
  header.write(name, 0, 'latin1');
  header.write('0000644\x000000000\x000000000\0', 100, 'latin1');
  header.write(`${data.length.toString(8).padStart(11, '0')}\x0000000000000\0`, 124, 'latin1');
  header.write(type, 156, 'latin1');
  header.write(link, 157, 'latin1');
  header.write('ustar\x0000', 257, 'latin1');
  if (patch !== undefined) header.set(patch[1], patch[0]);
  header.fill(' ', 148, 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return Buffer.concat([header, data, Buffer.alloc((512 - (data.length % 512)) % 512)]);
}

const END = Buffer.alloc(1024);
const pax = (...records: [string, string][]) =>
  Buffer.concat(
    records.map(([key, value]) => {
      const rest = Buffer.from(` ${key}=${value}\n`, 'latin1');
      let length = rest.length + 1;
      while (String(length).length + rest.length !== length) length += 1;
      return Buffer.concat([Buffer.from(String(length)), rest]);
    }),
  );

describe.each(['USTAR', 'GNU', 'PAX'] as const)('an archive in the format %s', (format) => {
  const archive = pythonTar(
    format,
    `
add('a', b'first', mode=0o4755, uid=7, gid=8, mtime=1600000000)
add('dir', type=tarfile.DIRTYPE, mode=0o1777)
add('hard', type=tarfile.LNKTYPE, linkname='a')
add('soft', type=tarfile.SYMTYPE, linkname='../a')
add('char', type=tarfile.CHRTYPE, devmajor=1, devminor=3)
add('block', type=tarfile.BLKTYPE, devmajor=259, devminor=70000)
add('pipe', type=tarfile.FIFOTYPE)
add('${'d'.repeat(90)}/${'e'.repeat(50)}', b'x' * 1000)
add('last', b'last')`,
  );

  it('is indexed with types, attributes and the places of contents', () => {
    const entries = index(archive);
    const common = { mode: 0o644, uid: 0, gid: 0, modified: 0 };
    expect(entries).toEqual([
      {
        type: 'file',
        path: 'a',
        mode: 0o4755,
        uid: 7,
        gid: 8,
        modified: 1_600_000_000,
        size: 5,
        offset: 512,
      },
      { type: 'directory', path: expect.stringMatching(/^dir\/?$/), ...common, mode: 0o1777 },
      { type: 'hard-link', path: 'hard', ...common, target: 'a' },
      { type: 'symlink', path: 'soft', ...common, target: '../a' },
      { type: 'character-device', path: 'char', ...common, major: 1, minor: 3 },
      { type: 'block-device', path: 'block', ...common, major: 259, minor: 70000 },
      { type: 'fifo', path: 'pipe', ...common },
      {
        type: 'file',
        path: `${'d'.repeat(90)}/${'e'.repeat(50)}`,
        ...common,
        size: 1000,
        offset: expect.any(Number),
      },
      { type: 'file', path: 'last', ...common, size: 4, offset: expect.any(Number) },
    ]);
    expect(contents(archive, entries.at(-1))).toBe('last');
    expect(contents(archive, entries.at(-2))).toBe('x'.repeat(1000));
  });

  it('is indexed the same in chunks of any size, and by its headers alone', async () => {
    const whole = index(archive);
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 1500 }), { minLength: 1 }), (sizes) => {
        const indexer = new TarIndexer('Layer 1');
        for (let at = 0, i = 0; at < archive.length; i++) {
          const size = sizes[i % sizes.length] as number;
          indexer.push(archive.subarray(at, at + size));
          at += size;
        }
        expect(indexer.end()).toEqual(whole);
      }),
      { numRuns: 30 },
    );
    expect(await indexTar(bytesSource(archive), 'Layer 1')).toEqual(whole);
  });

  it('is an error wherever it is cut within an entry, and none between entries', () => {
    const ends = new Set(index(archive).map((entry) => ('offset' in entry ? entry.offset + entry.size : -1)));
    fc.assert(
      fc.property(fc.integer({ min: 0, max: archive.length }), (length) => {
        try {
          const found = index(archive.subarray(0, length));
          expect(found.length).toBeLessThanOrEqual(9);
        } catch (error) {
          expect(isError(error, 'NOT_AN_IMAGE'), String(error)).toBe(true);
          expect(ends.has(length)).toBe(false);
        }
      }),
    );
    expect(() => index(archive.subarray(0, 700))).not.toThrow();
    expect(() => index(archive.subarray(0, 514))).toThrow('Layer 1 ends inside an entry, after 514 bytes');
  });
});

it.each(['GNU', 'PAX'] as const)('long names and large numbers of the format %s are read', (format) => {
  const archive = pythonTar(
    format,
    `
add('${LONG}', b'deep', uid=3000000, gid=4000000000, mtime=-5)
add('link', type=tarfile.SYMTYPE, linkname='${LONG}')
add('hard', type=tarfile.LNKTYPE, linkname='${LONG}')
add('after', b'after')`,
  );
  const [deep, link, hard, after] = index(archive);
  expect(deep).toMatchObject({ path: LONG, uid: 3_000_000, gid: 4_000_000_000, modified: -5, size: 4 });
  expect(contents(archive, deep)).toBe('deep');
  expect(link).toMatchObject({ target: LONG });
  expect(hard).toMatchObject({ type: 'hard-link', target: LONG });
  expect(after).toMatchObject({ path: 'after', uid: 0, modified: 0 });
});

it('a name with a slash at its end is a directory in old archives only, as in Go', () => {
  const archive = Buffer.concat([member('old/', '\0'), member('file/', '0'), END]);
  expect(index(archive).map(({ type }) => type)).toEqual(['directory', 'file']);
});

it.each([
  ['1600000000.999999999', 1_600_000_000],
  ['-1.5', -2],
  ['-1.000', -1],
  ['-0.1', -1],
  ['12.', 12],
])('the time %s is rounded down', (mtime, modified) => {
  const archive = Buffer.concat([member('x', 'x', { data: pax(['mtime', mtime]) }), member('a', '0'), END]);
  expect(index(archive)[0]?.modified).toBe(modified);
});

it.each(['gnu', 'posix', '0.0', '0.1', '1.0'])(
  'a sparse file that GNU tar wrote in format %s is whole',
  (format) => {
    const folder = temporaryFolder();
    const path = join(folder, 'sparse');
    const file = openSync(path, 'w');
    for (let i = 0; i < 60; i++) writeSync(file, `data ${i}`, i * 40_000 + 5);
    closeSync(file);
    truncateSync(path, 3_000_000);
    writeFileSync(join(folder, 'z'), 'behind');
    const options = format === 'gnu' ? ['--format=gnu'] : ['--format=posix'];
    if (format.includes('.')) options.push(`--sparse-version=${format}`);
    const archive = execFileSync('tar', ['-S', ...options, '-C', folder, '-cf', '-', 'sparse', 'z'], {
      maxBuffer: 64 * 1024 * 1024,
    });
    const [sparse, behind] = index(archive) as [FileEntry, FileEntry];
    expect(sparse).toMatchObject({ path: 'sparse', size: 3_000_000 });
    expect(sparse.ranges?.length).toBeGreaterThan(10);
    const whole = Buffer.alloc(sparse.size);
    let from = sparse.offset;
    for (const [at, length] of sparse.ranges ?? []) {
      archive.copy(whole, at, from, from + length);
      from += length;
    }
    expect(whole.equals(readFileSync(path))).toBe(true);
    expect(contents(archive, behind)).toBe('behind');
  },
);

it('metadata that lies across two reads of a file is read once', async () => {
  const size = 300 * 1024;
  const note = 'n'.repeat(200_000);
  const archive = Buffer.concat([
    member('x', 'x', { data: pax(['comment', note]) }),
    member('a', '0', { data: Buffer.alloc(1000) }),
    member('x', 'x', { data: pax(['comment', note], ['path', 'renamed']) }),
    member('b', '0', { data: Buffer.alloc(size) }),
    member('L', 'L', { data: Buffer.from('long/'.repeat(4000)) }),
    member('c', '0'),
    END,
  ]);
  expect(await indexTar(bytesSource(archive), 'Layer 1')).toEqual(index(archive));
});

it('extended attributes keep every byte', () => {
  const value = Buffer.from([1, 0, 0, 2, 10, 0x3d, 0xff, 0]).toString('latin1');
  const archive = Buffer.concat([
    member('x', 'x', {
      data: pax(['SCHILY.xattr.security.capability', value], ['SCHILY.xattr.user.=', 'odd']),
    }),
    member('file', '0'),
    member('next', '0'),
    END,
  ]);
  const [file, next] = index(archive);
  expect(file?.xattrs).toEqual({ 'security.capability': value, 'user.': '=odd' });
  expect(next?.xattrs).toBeUndefined();
});

it('a global header holds until it is taken back, and an entry may say otherwise', () => {
  const archive = Buffer.concat([
    member('g', 'g', { data: pax(['uid', '77'], ['mtime', '12.9']) }),
    member('a', '0'),
    member('x', 'x', { data: pax(['uid', '5']) }),
    member('b', '0'),
    member('g', 'g', { data: pax(['uid', '']) }),
    member('c', '0'),
    END,
  ]);
  expect(index(archive).map(({ uid, modified }) => [uid, modified])).toEqual([
    [77, 12],
    [5, 12],
    [0, 12],
  ]);
});

describe('a damaged or hostile archive', () => {
  const number = (bytes: string): [number, Uint8Array] => [124, Buffer.from(bytes, 'latin1')];
  it.each<[string, Buffer, string]>([
    [
      'a wrong checksum',
      Buffer.concat([Buffer.from('x'), member('file', '0').subarray(1)]),
      'has a wrong checksum',
    ],
    ['text', Buffer.alloc(2048, 'not a tar archive '), 'has no checksum'],
    ['a size that is no number', member('f', '0', { patch: number('9z') }), 'impossible size'],
    ['a negative size', member('f', '0', { patch: number('\xff'.repeat(12)) }), 'impossible size'],
    [
      'a size beyond 2^53',
      member('f', '0', { patch: number(`\x80${'\xff'.repeat(11)}`) }),
      'impossible size',
    ],
    ['an unknown type', member('f', 'Z'), 'has the unknown type "Z"'],
    [
      'a pax record that is too long',
      member('x', 'x', { data: Buffer.from('99 path=a\n') }),
      'damaged pax record',
    ],
    ['a pax record without a key', member('x', 'x', { data: Buffer.from('6 =ab\n') }), 'without a key'],
    [
      'a NUL in a name',
      Buffer.concat([member('x', 'x', { data: pax(['path', 'a\0b']) }), member('f', '0')]),
      'a NUL in its path',
    ],
    [
      'a negative user',
      Buffer.concat([member('x', 'x', { data: pax(['uid', '-1']) }), member('f', '0')]),
      'impossible user',
    ],
    [
      'data behind the end',
      Buffer.concat([Buffer.alloc(512), member('f', '0')]),
      'goes on behind a block of zeros',
    ],
    [
      'a sparse map outside its file',
      Buffer.concat([
        member('x', 'x', { data: pax(['GNU.sparse.map', '0,5,3,1'], ['GNU.sparse.size', '9']) }),
        member('f', '0', { data: Buffer.from('123456') }),
      ]),
      'not in order',
    ],
  ])('with %s is an error', (_, archive, message) => {
    expect(() => index(Buffer.concat([archive, END]))).toThrow(message);
  });

  it('is stopped by the limits', () => {
    const limits = { entries: 3, metadata: 2000, size: 10_000, fileSize: 5000 };
    const many = Buffer.concat([...'abcd'].map((name) => member(name, '0')));
    expect(() => index(many, limits)).toThrow('more than 3 entries');
    const big = member('big', '0', { data: Buffer.alloc(6000) });
    expect(() => index(big, limits)).toThrow('claims a file of 6000 bytes');
    expect(() => index(Buffer.concat([member('a', '0'), Buffer.alloc(20_000)]), limits)).toThrow(
      'more than 10000 bytes',
    );
    const records = member('x', 'x', { data: pax(['comment', 'x'.repeat(3000)]) });
    expect(() => index(records, limits)).toThrow('bytes of names and attributes');
    const ranges = Array.from({ length: 100 }, (_, i) => `${2 * i},1`).join(',');
    const holes = Buffer.concat([
      member('x', 'x', { data: pax(['GNU.sparse.map', ranges], ['GNU.sparse.size', '300']) }),
      member('f', '0', { data: Buffer.alloc(100) }),
    ]);
    expect(() => index(holes, { ...limits, metadata: 5000 })).toThrow('bytes of names and attributes');
    const sparse = Buffer.concat([
      member('x', 'x', { data: pax(['GNU.sparse.map', ''], ['GNU.sparse.size', String(2 ** 52)]) }),
      member('f', '0'),
    ]);
    expect(() => index(Buffer.concat([sparse, END]))).toThrow('claims a file of');
  });

  it('changed at random is read to an answer or a clear error', () => {
    const seeds = [
      pythonTar(
        'PAX',
        `add('${LONG}', b'x' * 700, uid=3000000, pax_headers={'SCHILY.xattr.user.a': 'b'})\nadd('b', b'c')`,
      ),
      pythonTar(
        'GNU',
        `add('${LONG}', b'x' * 700, uid=3000000)\nadd('b', type=tarfile.LNKTYPE, linkname='${LONG}')`,
      ),
      sparseSeed('gnu'),
      sparseSeed('posix'),
    ];
    let failures = 0;
    const change = fc.record({
      seed: fc.integer({ min: 0, max: seeds.length - 1 }),
      edits: fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 8 }),
      isMended: fc.boolean(),
    });
    fc.assert(
      fc.property(change, ({ seed, edits, isMended }) => {
        const bytes = Buffer.from(seeds[seed] as Buffer);
        for (const [at, value] of edits) bytes[at % bytes.length] = value;
        // With right checksums the changes get past the first gate.
        if (isMended) mend(bytes);
        try {
          index(bytes);
        } catch (error) {
          failures += 1;
          expect(isError(error, 'NOT_AN_IMAGE', 'NOT_PRESENTABLE'), String(error)).toBe(true);
        }
      }),
      { numRuns: 3000 },
    );
    expect(failures).toBeGreaterThan(100);
  });
});

function sparseSeed(format: string): Buffer {
  const folder = temporaryFolder();
  mkdirSync(join(folder, 's'));
  const file = openSync(join(folder, 's/sparse'), 'w');
  for (let i = 0; i < 30; i++) writeSync(file, 'data', i * 20_000);
  closeSync(file);
  return execFileSync('tar', ['-S', `--format=${format}`, '-C', folder, '-cf', '-', 's']);
}

function mend(bytes: Buffer): void {
  for (let at = 0; at + 512 <= bytes.length; at += 512) {
    if (!bytes.subarray(at + 257, at + 262).equals(Buffer.from('ustar'))) continue;
    bytes.fill(' ', at + 148, at + 156);
    const sum = bytes.subarray(at, at + 512).reduce((total, byte) => total + byte, 0);
    bytes.write(`${sum.toString(8).padStart(6, '0')}\0 `, at + 148, 'latin1');
  }
}

function contents(archive: Buffer, entry: LayerEntry | undefined): string | undefined {
  if (entry?.type !== 'file') return undefined;
  return archive.toString('latin1', entry.offset, entry.offset + entry.size);
}
