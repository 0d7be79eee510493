/** Ztocs of SOCI: what they tell is what the reader of archives finds, and each span is decompressed by itself. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { SregistryError } from '../../../src/base/errors.ts';
import type { LayerEntry } from '../../../src/image/layers/entry.ts';
import { lengthOfLast, SociSpans, sociPointOf } from '../../../src/image/layers/soci-spans.ts';
import { indexTar } from '../../../src/image/layers/tar.ts';
import { parseZtoc } from '../../../src/image/layers/ztoc.ts';
import { bytesSource } from '../../../src/image/source.ts';
import { material } from '../../fuzz/gzip.ts';
import { random } from '../../fuzz/run.ts';
import { fuzzZtocs } from '../../fuzz/ztocs.ts';
import { type Layer, layerOf, tarOf } from '../../servers/layered.ts';
import { fileMetadata, flatBuffer, type Table, type ZtocOptions, ztocOf } from '../../servers/soci.ts';

const noise = material(400_000, random(1));
const LAYER = layerOf(
  tarOf([
    { path: 'a/', type: 'directory' },
    { path: 'a/noise', data: noise },
    { path: 'a/link', type: 'symlink', target: '../somewhere' },
    { path: 'a/again', type: 'hard-link', target: 'a/noise' },
    { path: 'a/small', data: 'small\n', mode: 0o4755 },
  ]),
);
const PLAIN = layerOf(LAYER.tar, 'none');
const MEMBERS: Layer = {
  ...LAYER,
  blob: Buffer.concat(
    [0, 1, 2].map((i) => gzipSync(LAYER.tar.subarray(i * 150_000, i === 2 ? undefined : (i + 1) * 150_000))),
  ),
};
/** Behind its end, GNU tar fills an archive up to 10 KiB, which SOCI does not count. */
const PADDED = layerOf(Buffer.concat([LAYER.tar, Buffer.alloc(9000)]));

async function spansOf({ blob, tar }: Layer, ztoc: Buffer): Promise<SociSpans> {
  const { checkpoints, storedSize } = parseZtoc(ztoc);
  expect(storedSize).toBe(blob.length);
  const points = checkpoints.map(sociPointOf);
  const last = points.at(-1) as (typeof points)[number];
  const size = last.offset + (await lengthOfLast(last, blob.subarray(last.from)));
  expect(size).toBe(tar.length);
  return new SociSpans(points, size, storedSize);
}

test.each<[string, Layer, ZtocOptions]>([
  ['gzip', LAYER, { span: 50_000 }],
  ['gzip of the first version', LAYER, { span: 50_000, firstVersion: true }],
  ['gzip of several members', MEMBERS, { span: 50_000 }],
  ['gzip with padding', PADDED, { span: 50_000 }],
  ['one span', LAYER, { span: 4 << 20 }],
  ['a plain archive', PLAIN, { span: 50_000 }],
])('the archive is read span by span (%s)', async (_, layer, options) => {
  const ztoc = await ztocOf(layer, options);
  const spans = await spansOf(layer, ztoc);
  expect(spans.count > 4).toBe(options.span === 50_000);
  const parts: Uint8Array[] = [];
  for (let i = 0; i < spans.count; i++) {
    const { from, stored } = spans.span(i);
    parts.push(await spans.decode(i, layer.blob.subarray(from, from + stored)));
    const wrong = Buffer.from(layer.blob.subarray(from, from + stored))
      .fill(1, 20, 21)
      .fill(2, 21, 22);
    await expect(spans.decode(i, wrong)).rejects.toMatchObject({ code: 'CORRUPT' });
  }
  expect(Buffer.concat(parts).equals(layer.tar)).toBe(true);
});

test('what a ztoc tells is what the reader of archives finds, for every kind of entry', async () => {
  const blob = readFileSync(join(import.meta.dirname, '../../fixtures/layers/layer.tar.gz'));
  const tar = gunzipSync(blob);
  const found = await indexTar(bytesSource(tar), 'The layer');
  // Ztocs are not made of archives with sparse files.
  const isSparse = (entry: LayerEntry) => entry.type === 'file' && entry.ranges !== undefined;
  expect(found.filter(isSparse)).toEqual([]);
  expect(new Set(found.map(({ type }) => type)).size).toBe(7);
  expect(found.some(({ xattrs }) => xattrs !== undefined)).toBe(true);
  const { entries } = parseZtoc(await ztocOf({ tar, blob }, { span: 1 << 20 }));
  expect(entries).toEqual(found);
});

test('times are rounded down in any zone, and the order is that of the archive', async () => {
  const times = ['1969-12-31T23:59:59.999999999Z', '2020-01-01T05:30:00+05:30', '2020-01-01T00:00:00.5Z'];
  const change = (ztoc: Table, files: Table[]): Table => ({
    ...ztoc,
    toc: { metadata: files.map((file, i) => ({ ...file, mod_time: times[i] ?? file.mod_time })).reverse() },
  });
  const { entries } = parseZtoc(await ztocOf(LAYER, { span: 1 << 20, change }));
  expect(entries.map(({ modified }) => modified).slice(0, 3)).toEqual([-1, 1577836800, 1577836800]);
  expect(entries.map(({ path }) => path)).toEqual(['a/', 'a/noise', 'a/link', 'a/again', 'a/small']);
});

test.each<[string, RegExp, Table]>([
  ['a sparse file', /sparse/, { xattrs: [{ key: 'GNU.sparse.major', value: '1' }] }],
  ['an unknown type', /unknown type/, { type: 'socket' }],
  [
    'a file beyond the end',
    /beyond the end/,
    { type: 'reg', uncompressed_offset: 400_000, uncompressed_size: 9e5 },
  ],
  ['no time', /impossible time/, { mod_time: '' }],
  ['a NUL in its name', /NUL/, { name: 'a\0b' }],
  ['a negative size', /impossible number/, { uncompressed_size: -1 }],
  ['an impossible device', /impossible device/, { type: 'char', devmajor: 5000 }],
])('a ztoc with %s is not used', async (_, why, fields) => {
  const change = (ztoc: Table, files: Table[]): Table => ({
    ...ztoc,
    toc: { metadata: [...files, { ...files.at(-1), ...fields }] },
  });
  const ztoc = await ztocOf(LAYER, { span: 1 << 20, change });
  expect(() => parseZtoc(ztoc)).toThrow(why);
});

test.each<[string, RegExp, Table]>([
  ['digests of other spans', /other digests/, { span_digests: [] }],
  ['an unknown compression', /unknown compression/, { compression_algorithm: 3 }],
  ['no checkpoints', /no checkpoints/, { checkpoints: Buffer.alloc(0) }],
  ['other checkpoints than it says', /other checkpoints/, { checkpoints: Buffer.alloc(12 + 100, 1) }],
  [
    'endless spans',
    /other digests/,
    {
      compression_algorithm: 2,
      checkpoints: flatBuffer('TarZinfo', { version: 1, span_size: 1, size: 2 ** 52 }),
    },
  ],
  ['no sha256 of a span', /without a sha256/, { span_digests: ['md5:00'] }],
])('a ztoc with %s is not used', async (_, why, fields) => {
  const change = (ztoc: Table): Table => ({
    ...ztoc,
    compression_info: { ...(ztoc.compression_info as Table), ...fields },
  });
  const ztoc = await ztocOf(LAYER, { span: 4 << 20, change });
  expect(() => parseZtoc(ztoc)).toThrow(why);
});

test('a ztoc without tables, and what is no FlatBuffer, is not used', () => {
  expect(() => parseZtoc(flatBuffer('Ztoc', { version: '0.9' }))).toThrow(/lacks a table/);
  for (const bytes of [Buffer.alloc(0), Buffer.alloc(3), Buffer.alloc(100, 0xff), Buffer.alloc(100)])
    expect(() => parseZtoc(bytes)).toThrow(SregistryError);
});

test('a right ztoc gives archive and files, and a changed one an answer or a clear error', async () => {
  const { inputs, answers } = await fuzzZtocs(20_260_801, 400);
  expect(inputs).toBe(400);
  expect(answers).toBeGreaterThan(80);
  expect(answers).toBeLessThan(390);
});

test('a claim of endless entries ends soon', () => {
  const file = fileMetadata({ type: 'fifo', path: 'a', mode: 0, uid: 0, gid: 0, modified: 0 }, 512);
  const bytes = flatBuffer('TOC', { metadata: [file] });
  expect(bytes.length).toBeLessThan(1000);
  const ztoc = flatBuffer('Ztoc', {
    toc: { metadata: [file] },
    compression_info: { max_span_id: 0, span_digests: ['x'], checkpoints: Buffer.alloc(12) },
  });
  for (let at = 0; at + 4 <= ztoc.length; at += 4) {
    const wrong = Buffer.from(ztoc);
    wrong.writeUInt32LE(0x7fffffff, at);
    expect(() => parseZtoc(wrong)).toThrow(SregistryError);
  }
});
