/** Entries of the cache whose bytes are decoded from spans of a blob: what is fetched, and how often. */
import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { LRUCache } from 'lru-cache';
import { expect, test } from 'vitest';
import { SregistryError } from '../../src/base/errors.ts';
import type { RangeSource } from '../../src/cache/receive.ts';
import { type Span, SpanData, type Spans } from '../../src/image/layers/spans.ts';
import { MIB, openCache, readAll, readRange, temporaryFolder } from './support.ts';

const TARGET = 'layer';
const BLOCK = 64 * 1024;

interface Wanted {
  readonly length: number;
  /** Zeros in front of it. */
  readonly gap?: number;
}

/** Spans of random bytes, stored with each bit turned over and 7 bytes of something in front of each. */
function spansOf(wanted: readonly Wanted[], recent = 32 * MIB) {
  const spans: Span[] = [];
  let [at, from] = [0, 0];
  for (const { length, gap = 0 } of wanted) {
    spans.push({ at: at + gap, length, from: from + 7, stored: length });
    at += gap + length;
    from += 7 + length;
  }
  const [data, blob] = [Buffer.alloc(at), randomBytes(from)];
  for (const span of spans)
    for (let i = 0; i < span.length; i++) data[span.at + i] = ~(blob[span.from + i] as number) & 0xff;
  const requests: { offset: number; length: number }[] = [];
  const decoded: number[] = [];
  const bad = new Set<number>();
  const source: Spans = {
    size: at,
    count: spans.length,
    span: (index) => spans[index] as Span,
    decode: async (index, stored) => {
      decoded.push(index);
      if (bad.has(index)) throw new SregistryError('CORRUPT', `span ${index} is wrong`);
      return stored.map((byte) => ~byte & 0xff);
    },
  };
  const read = async (offset: number, length: number) => {
    requests.push({ offset, length });
    return Readable.from(cut(blob.subarray(offset, offset + length)), { objectMode: false });
  };
  const lru = new LRUCache<string, Uint8Array>({ maxSize: recent, sizeCalculation: ({ length }) => length });
  const spanData = new SpanData('layer 1', source, read, lru);
  const ranges: RangeSource = Object.assign(
    async (offset: number, length: number, signal: AbortSignal) => spanData.stream(offset, length, signal),
    { decoded: spanData },
  );
  const name = { collection: '', image: 'demo', tag: 'layer' };
  const remote = { name, size: at, revision: 'r1', handle: {} };
  return { data, blob, spans, requests, decoded, bad, ranges, remote };
}

function* cut(bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += 10_000) yield bytes.subarray(at, at + 10_000);
}

const SMALL = Array.from({ length: 3000 }, (_, i) => ({ length: 1 + ((i * 7919) % 9000) }));

test('a whole read asks for what lies together with one request, and decodes every span once', async () => {
  const { cache, close } = await openCache(await temporaryFolder());
  const { data, decoded, requests, ranges, remote } = spansOf([
    ...SMALL,
    { length: 4 * MIB, gap: 12_345 },
    { length: 4 * MIB },
    ...SMALL,
  ]);
  const open = cache.open(TARGET, remote, ranges);
  await open.fetchAll();
  expect((await readAll(open)).equals(data)).toBe(true);
  expect(new Set(decoded).size).toBe(SMALL.length * 2 + 2);
  expect(decoded.length - new Set(decoded).size).toBeLessThan(4);
  expect(requests.length).toBeLessThan(8);
  expect(cache.fetchedBytes).toBe(0);
  await cache.close(open);
  await close();
});

test('a sequential reader fetches only spans at the edges of two requests that run at a time twice', async () => {
  const { cache, close } = await openCache(await temporaryFolder());
  const { data, decoded, ranges, remote } = spansOf([...SMALL, { length: 9 * MIB }, ...SMALL]);
  const open = cache.open(TARGET, remote, ranges);
  expect((await readAll(open)).equals(data)).toBe(true);
  const twice = decoded.filter((index, i) => decoded.indexOf(index) < i);
  expect(twice.length).toBeLessThan(16);
  expect(twice).not.toContain(SMALL.length);
  await cache.close(open);
  await close();
});

test('a read anywhere in a span keeps all of the span, and what follows is fetched only where it is whole', async () => {
  const { cache, close } = await openCache(await temporaryFolder());
  const large = { length: 64 * BLOCK };
  const { data, requests, spans, ranges, remote } = spansOf([large, large, large], 1);
  const open = cache.open(TARGET, remote, ranges);
  const within = 100 * BLOCK + 5;
  expect(await readRange(open, within, 100)).toEqual(data.subarray(within, within + 100));
  const end = 128 * BLOCK - 100;
  expect(await readRange(open, end, 100)).toEqual(data.subarray(end, end + 100));
  expect(await readRange(open, 64 * BLOCK, 100)).toEqual(data.subarray(64 * BLOCK, 64 * BLOCK + 100));
  const [, second] = spans as [Span, Span];
  expect(requests).toEqual([{ offset: second.from, length: second.stored }]);
  await cache.close(open);
  await close();
});

test('readers of one span at a time share one request', async () => {
  const { cache, close } = await openCache(await temporaryFolder());
  const { data, requests, ranges, remote } = spansOf([{ length: 80 * BLOCK }]);
  const open = cache.open(TARGET, remote, ranges);
  const places = [70 * BLOCK, 3 * BLOCK, 40 * BLOCK];
  const reads = await Promise.all(places.map((at) => readRange(open, at, 10)));
  expect(reads).toEqual(places.map((at) => data.subarray(at, at + 10)));
  expect(requests).toHaveLength(1);
  await cache.close(open);
  await close();
});

test('a span that is wrong gives its error and no bytes; those beside it are read', async () => {
  const { cache, close } = await openCache(await temporaryFolder());
  const large = { length: 10 * BLOCK };
  const { data, bad, ranges, remote } = spansOf([large, large, large]);
  bad.add(1);
  const open = cache.open(TARGET, remote, ranges);
  await expect(readRange(open, 15 * BLOCK, 10)).rejects.toMatchObject({ code: 'CORRUPT' });
  expect(await readRange(open, 3 * BLOCK, 10)).toEqual(data.subarray(3 * BLOCK, 3 * BLOCK + 10));
  expect(await readRange(open, 29 * BLOCK, 10)).toEqual(data.subarray(29 * BLOCK, 29 * BLOCK + 10));
  expect(open.cachedBytes).toBeLessThanOrEqual(20 * BLOCK);
  bad.clear();
  expect(await readRange(open, 15 * BLOCK, 10)).toEqual(data.subarray(15 * BLOCK, 15 * BLOCK + 10));
  await cache.close(open);
  await close();
});

test('a wrong span fails its own readers only, even where one fetch was to bring what follows as well', async () => {
  const { cache, close } = await openCache(await temporaryFolder());
  const { data, bad, ranges, remote } = spansOf(Array.from({ length: 30 }, () => ({ length: 3 * BLOCK })));
  bad.add(4);
  const open = cache.open(TARGET, remote, ranges);
  const read = (span: number) => readRange(open, span * 3 * BLOCK + BLOCK, 100).catch(({ code }) => code);
  const whole = open.fetchAll().catch(({ code }) => code);
  const spans = [4, 5, 9, 29, 2];
  const outcomes = await Promise.all(spans.map(read));
  expect(await whole).toBe('CORRUPT');
  const right = spans.map((span) => data.subarray(span * 3 * BLOCK + BLOCK, span * 3 * BLOCK + BLOCK + 100));
  expect(outcomes).toEqual(['CORRUPT', ...right.slice(1)]);
  await cache.close(open);
  await close();
});

test('a later opening reads what was kept without a request', async () => {
  const root = await temporaryFolder();
  const { data, requests, ranges, remote } = spansOf(SMALL);
  for (const wanted of [1, 1]) {
    const { cache, close } = await openCache(root);
    const open = cache.open(TARGET, remote, ranges);
    expect(await readRange(open, 1_000_000, 5000)).toEqual(data.subarray(1_000_000, 1_005_000));
    expect(requests).toHaveLength(wanted);
    await cache.close(open);
    await close();
  }
});

test('random reads of spans with gaps give the right bytes', async () => {
  const { cache, close } = await openCache(await temporaryFolder());
  const wanted = SMALL.map(({ length }, i) => ({
    length: length * (i % 50 === 0 ? 100 : 1),
    gap: i % 7 === 0 ? i * 11 : 0,
  }));
  const { data, ranges, remote } = spansOf(wanted, MIB);
  const open = cache.open(TARGET, remote, ranges);
  for (let i = 0; i < 200; i++) {
    const at = (i * 7_654_321) % data.length;
    const length = 1 + ((i * 12_347) % 300_000);
    const bytes = await readRange(open, at, length);
    expect(bytes.equals(data.subarray(at, at + length))).toBe(true);
  }
  await cache.close(open);
  await close();
});
