/** Restart points: found in any blob, and each span decompressed by itself. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { constants, createDeflateRaw, deflateRawSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { MAX_SPAN_SIZE, SPAN_SIZE } from '../../../src/image/layers/points.ts';
import { PointRecorder } from '../../../src/image/layers/record.ts';
import type { RestartSpans } from '../../../src/image/layers/restart.ts';
import { formatRestarts, parseRestarts } from '../../../src/image/layers/restart-file.ts';
import { gzipFile, material, memberOf, pointsOf, spansOf } from '../../fuzz/gzip.ts';
import { random } from '../../fuzz/run.ts';
import { digestOf } from '../../servers/layered.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'sregistry-restart-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Decodes every span from its own bytes of the blob, and puts them together. */
async function decodeAll(spans: RestartSpans, blob: Buffer): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  let [at, from] = [0, spans.count === 0 ? 0 : spans.span(0).from];
  for (let i = 0; i < spans.count; i++) {
    const span = spans.span(i);
    expect([span.at, span.from]).toEqual([at, from]);
    parts.push(await spans.decode(i, blob.subarray(span.from, span.from + span.stored)));
    at += span.length;
    from += span.stored;
  }
  expect(at).toBe(spans.size);
  return Buffer.concat(parts);
}

test.each(Array.from({ length: 15 }, (_, seed) => seed))(
  'a gzip file of random members can be resumed at each of its blocks (%i)',
  async (seed) => {
    const pick = random(1000 + seed);
    const archive = material(1 + pick(400_000), pick);
    const blob = gzipFile(archive, pick);
    for (const spanSize of [1, 1 + pick(100_000)]) {
      const spans = spansOf(blob, archive, spanSize, pick);
      expect((await decodeAll(spans, blob)).equals(archive)).toBe(true);
    }
  },
);

test.each([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])(
  'a gzip file of level %i can be resumed in its middle',
  async (level) => {
    const pick = random(level);
    const archive = material(1_500_000, pick);
    const blob = gzipSync(archive, { level });
    const spans = spansOf(blob, archive, 100_000, pick);
    expect(spans.count).toBeGreaterThan(4);
    expect(new Set(spans.points.slice(1).map(({ kind }) => kind))).toEqual(new Set(['block']));
    if (level > 0) expect(spans.points.some(({ bits }) => bits !== 0)).toBe(true);
    expect((await decodeAll(spans, blob)).equals(archive)).toBe(true);
  },
);

test('flushes, as pigz leaves them between its parts, are places like others', async () => {
  const archive = material(600_000, random(5));
  const stream = createDeflateRaw({ level: 6 });
  const parts: Buffer[] = [];
  stream.on('data', (part: Buffer) => parts.push(part));
  for (let at = 0; at < archive.length; at += 128 * 1024) {
    stream.write(archive.subarray(at, at + 128 * 1024));
    const kind = at % (256 * 1024) === 0 ? constants.Z_SYNC_FLUSH : constants.Z_FULL_FLUSH;
    await new Promise<void>((resolve) => stream.flush(kind, resolve));
  }
  await new Promise<void>((resolve) => stream.on('end', resolve).end());
  const blob = memberOf(Buffer.concat(parts), archive);
  const spans = spansOf(blob, archive, 1, random(6));
  expect((await decodeAll(spans, blob)).equals(archive)).toBe(true);
});

test('plain archives and zstd files of several frames have points, and one zstd frame has one', async () => {
  const pick = random(7);
  const archive = Buffer.concat([Buffer.alloc(1, 'x'), material(300_000, pick)]);
  const parts = [0, 1, 2].map((i) =>
    archive.subarray(i * 100_000, i === 2 ? archive.length : (i + 1) * 100_000),
  );
  const skippable = Buffer.from([0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);
  const frames = Buffer.concat(parts.flatMap((part) => [zstdCompressSync(part), skippable]));
  const counts: number[] = [];
  for (const blob of [archive, frames, zstdCompressSync(archive)]) {
    const spans = spansOf(blob, archive, 50_000, pick);
    counts.push(spans.count);
    expect((await decodeAll(spans, blob)).equals(archive)).toBe(true);
  }
  expect(counts).toEqual([7, 3, 1]);
});

test('other bytes of the blob are CORRUPT, and give no byte', async () => {
  const pick = random(8);
  const archive = material(300_000, pick);
  for (const blob of [gzipSync(archive), gzipFile(archive, pick), archive]) {
    const spans = spansOf(blob, archive, 50_000, pick);
    for (let i = 0; i < spans.count; i++) {
      const { from, stored, length } = spans.span(i);
      if (length < 1000) continue;
      const wrong = Buffer.from(blob.subarray(from, from + stored));
      const at = Math.floor(stored / 2);
      wrong[at] = (wrong[at] as number) ^ 0x10;
      await expect(spans.decode(i, wrong)).rejects.toMatchObject({ code: 'CORRUPT' });
      await expect(spans.decode(i, wrong.subarray(0, at))).rejects.toMatchObject({ code: 'CORRUPT' });
      await expect(spans.decode(i, Buffer.alloc(stored))).rejects.toMatchObject({ code: 'CORRUPT' });
    }
  }
});

test('a blob that would have to be decoded in too large parts has no points', () => {
  const zeros = Buffer.alloc(MAX_SPAN_SIZE + 1);
  // One block: zeros are 258 bytes in a symbol, and an encoder ends a block after so many symbols.
  expect(() => pointsOf(zstdCompressSync(zeros), SPAN_SIZE, random(1))).toThrow(/no place to restart/);
  const empty = Buffer.from([0, 0, 0, 0xff, 0xff]);
  const many = Buffer.alloc(MAX_SPAN_SIZE + 5, empty);
  const idle = memberOf(Buffer.concat([many, deflateRawSync('a')]), Buffer.from('a'));
  expect(() => pointsOf(idle, SPAN_SIZE, random(1))).toThrow(/no place to restart/);
});

test('points survive their file, and a damaged file is none', async () => {
  const archive = material(300_000, random(9));
  const blob = gzipSync(archive);
  const file = formatRestarts(spansOf(blob, archive, 50_000, random(10)));
  const spans = parseRestarts(file);
  expect(spans && (await decodeAll(spans, blob)).equals(archive)).toBe(true);
  for (const at of [0, 30, 100, file.length - 1]) {
    const wrong = Buffer.from(file);
    wrong[at] = (wrong[at] as number) ^ 1;
    expect(parseRestarts(wrong)).toBeUndefined();
  }
  for (const length of [0, 5, 40, file.length - 1])
    expect(parseRestarts(file.subarray(0, length))).toBeUndefined();
});

test('a layer is recorded beside its fetch, from the blob and from the file of its archive', async () => {
  const archive = material(3 * SPAN_SIZE, random(11));
  const blob = gzipSync(archive, { level: 1 });
  const path = join(folder, 'archive');
  writeFileSync(path, '');
  using recorder = new PointRecorder({ path, diffId: digestOf(archive) });
  for (let at = 0; at < blob.length; at += 65_536) recorder.push(blob.subarray(at, at + 65_536));
  writeFileSync(path, archive);
  const file = await recorder.finish();
  const spans = parseRestarts(Buffer.from(file as Uint8Array)) as RestartSpans;
  expect(spans.count).toBe(3);
  expect((await decodeAll(spans, blob)).equals(archive)).toBe(true);
  expect((file as Uint8Array).length).toBeLessThan(archive.length * 0.01);
  expect(readFileSync(path).equals(archive)).toBe(true);
});

test.each([
  ['a malformed blob', Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 7]), Buffer.alloc(0)],
  ['an archive that somebody cut', gzipSync('abc'), Buffer.from('ab')],
  ['an archive that somebody changed', gzipSync('abc'), Buffer.from('abd')],
  ['a blob of another archive', gzipSync('ab'), Buffer.from('abc')],
])('the recording of %s has no result', async (_, blob, archive) => {
  const path = join(folder, 'other');
  writeFileSync(path, archive);
  using recorder = new PointRecorder({ path, diffId: digestOf(Buffer.from('abc')) });
  recorder.push(blob);
  expect(await recorder.finish()).toBeUndefined();
});

test('a recording that was ended has no result', async () => {
  const path = join(folder, 'ended');
  writeFileSync(path, 'abc');
  const recorder = new PointRecorder({ path, diffId: digestOf(Buffer.from('abc')) });
  recorder.push(gzipSync('abc'));
  recorder[Symbol.dispose]();
  recorder.push(gzipSync('abc'));
  expect(await recorder.finish()).toBeUndefined();
});

test('a recording that falls too far behind has no result, and holds up nobody', async () => {
  const path = join(folder, 'behind');
  writeFileSync(path, '');
  using recorder = new PointRecorder({ path, diffId: digestOf(Buffer.alloc(0)) });
  // The thread takes nothing before this has returned.
  for (let sent = 0; sent <= 64; sent++) recorder.push(Buffer.alloc(1 << 20, gzipSync('abc')));
  expect(await recorder.finish()).toBeUndefined();
});
