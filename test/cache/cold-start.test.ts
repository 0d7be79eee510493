import { readFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import { describe, expect, it, vi } from 'vitest';
import { BLOCK_SIZE } from '../../src/cache/block-map.ts';
import type { CachedImage } from '../../src/cache/image.ts';
import type { RangeSource } from '../../src/cache/receive.ts';
import { detach } from '../../src/cache/trash.ts';
import { fixturePath } from '../image/fixtures.ts';
import { MIB, openCache, readRange, type TestImage, temporaryFolder, testImage } from './support.ts';

const TARGET = 'http://localhost:5000';
/** What a container reads, in this order. */
const READS = [0, 60, 20, 100, 40].map((block) => block * BLOCK_SIZE);

type Opened = Awaited<ReturnType<typeof openCache>>;

const openFile = ({ cache }: Opened, image: TestImage, source = image.source): CachedImage => {
  const cached = cache.open(TARGET, image.remote, source);
  cache.foresee(cached);
  return cached;
};

/** Where the SquashFS in a SIF has its tables: bytes from the beginning of the image, as its superblock says. */
function tablesOf(bytes: Buffer): { inodeTable: number; end: number } {
  const start = bytes.indexOf('hsqs');
  const at = (field: number) => start + Number(bytes.readBigUInt64LE(start + field));
  return { inodeTable: at(64), end: at(40) };
}

async function startOnce(opened: Opened, image: TestImage): Promise<void> {
  const cached = openFile(opened, image);
  for (const offset of READS) await readRange(cached, offset, 4096);
  await cached.settled();
  await opened.cache.close(cached);
}

/** Removes the bytes and keeps the catalog. */
async function evict({ cache, index }: Opened): Promise<void> {
  for (const { key } of index.entries.list())
    expect(index.evict(key, () => void detach(cache.root, key))).toBe(true);
}

/** A source that answers no request until `release` is called. */
function held(image: TestImage): { source: RangeSource; asked: number[]; release: () => void } {
  const asked: number[] = [];
  const gate = Promise.withResolvers<void>();
  const source: RangeSource = async (offset, length, signal) => {
    asked.push(offset);
    await gate.promise;
    return image.source(offset, length, signal);
  };
  return { source, asked, release: () => gate.resolve() };
}

describe('an image that was started before', () => {
  it('is asked for all that the start read, at once, before anybody reads', async () => {
    const opened = await openCache(await temporaryFolder());
    const image = testImage(12 * MIB);
    await startOnce(opened, image);
    await evict(opened);
    const { source, asked, release } = held(image);
    const cached = openFile(opened, image, source);
    await vi.waitFor(() => expect(asked).toHaveLength(READS.length));
    expect(asked).toEqual(READS);
    release();
    for (const offset of READS)
      expect(await readRange(cached, offset, 4096)).toEqual(image.bytes.subarray(offset, offset + 4096));
    expect(asked).toHaveLength(READS.length);
    await opened.cache.close(cached);
    await opened.close();
  });

  it('is so in another process that shares the catalog', async () => {
    const folder = await temporaryFolder();
    const first = await openCache(folder);
    const image = testImage(12 * MIB);
    await startOnce(first, image);
    await evict(first);
    await first.close();
    const second = await openCache(folder);
    const { source, asked, release } = held(image);
    const cached = openFile(second, image, source);
    await vi.waitFor(() => expect(asked).toEqual(READS));
    release();
    await second.cache.close(cached);
    await second.close();
  });

  it('is read as it is needed where the trace is not one', async () => {
    const opened = await openCache(await temporaryFolder());
    const image = testImage(12 * MIB);
    for (const trace of ['no trace', `[[${image.bytes.length}, 65536], [-1, 5]]`, '[[]]']) {
      opened.traces.put(image.remote.digest as string, trace);
      const cached = openFile(opened, image);
      expect(await readRange(cached, READS[1] as number, 4096)).toEqual(
        image.bytes.subarray(READS[1] as number, (READS[1] as number) + 4096),
      );
      await opened.cache.close(cached);
    }
    await opened.close();
  });

  it('adds to the trace what a later start reads', async () => {
    const opened = await openCache(await temporaryFolder());
    const image = testImage(12 * MIB);
    await startOnce(opened, image);
    const cached = openFile(opened, image);
    await readRange(cached, 150 * BLOCK_SIZE, 4096);
    await cached.settled();
    await opened.cache.close(cached);
    const ranges: number[][] = JSON.parse(opened.traces.get(image.remote.digest as string) as string);
    expect(ranges.map(([offset]) => offset)).toEqual([...READS, 150 * BLOCK_SIZE]);
    await opened.close();
  });

  it('goes on to be fetched when the first of several programs closes it', async () => {
    const opened = await openCache(await temporaryFolder());
    const image = testImage(12 * MIB);
    await startOnce(opened, image);
    await evict(opened);
    const { source, asked, release } = held(image);
    const first = openFile(opened, image, source);
    await vi.waitFor(() => expect(asked).toHaveLength(READS.length));
    await opened.cache.close(first);
    const second = openFile(opened, image, source);
    expect(second).toBe(first);
    release();
    await second.settled();
    expect(second.cachedBytes).toBe(READS.length * BLOCK_SIZE);
    expect(asked).toHaveLength(READS.length);
    await opened.cache.close(second);
    await opened.close();
  });

  it('is closed when the cache stops, whatever is under way', async () => {
    const opened = await openCache(await temporaryFolder());
    const image = testImage(12 * MIB);
    await startOnce(opened, image);
    await evict(opened);
    const never: RangeSource = async () => new Readable({ read() {} });
    const cached = openFile(opened, image, never);
    await opened.cache.close(cached);
    await opened.close();
    expect(cached.state).toBe('closed');
  });
});

describe('an image that was never started', () => {
  it('is asked for its beginning when it is opened, and for the tables of its file system when that has come', async () => {
    const opened = await openCache(await temporaryFolder());
    const bytes = readFileSync(fixturePath('small-gzip.sif'));
    const image = testImage(bytes.length, { bytes });
    const cached = openFile(opened, image);
    await cached.settled();
    const { inodeTable, end } = tablesOf(bytes);
    const [head, tables] = image.requests.map(({ offset, length }) => ({
      start: offset,
      end: offset + length,
    }));
    expect(image.requests).toHaveLength(2);
    expect(head).toEqual({ start: 0, end: 4 * BLOCK_SIZE });
    expect(tables?.start).toBe(Math.floor(inodeTable / BLOCK_SIZE) * BLOCK_SIZE);
    expect(tables?.end).toBeGreaterThanOrEqual(end);
    await opened.cache.close(cached);
    await opened.close();
  });

  it.each([
    ['has its tables behind its end', 64, 2n ** 40n],
    ['is longer than it is', 40, 2n ** 40n],
    ['has tables of its own size', 64, 96n],
  ])('costs a bounded number of bytes where its header claims that it %s', async (_, at, value) => {
    const opened = await openCache(await temporaryFolder());
    const bytes = Buffer.concat([readFileSync(fixturePath('small-gzip.sif')), Buffer.alloc(20 * MIB)]);
    bytes.writeBigUInt64LE(value, bytes.indexOf('hsqs') + at);
    const image = testImage(bytes.length, { bytes });
    const cached = openFile(opened, image);
    await cached.settled();
    expect(cached.cachedBytes).toBeLessThanOrEqual(5 * MIB);
    expect(await readRange(cached, 10 * MIB, 4096)).toEqual(bytes.subarray(10 * MIB, 10 * MIB + 4096));
    await opened.cache.close(cached);
    await opened.close();
  });

  it('costs a program that only looks at many images no more than what it reads', async () => {
    const opened = await openCache(await temporaryFolder());
    const images = Array.from({ length: 12 }, (_, i) => testImage(MIB, { name: `image-${i}` }));
    for (const image of images) {
      const cached = openFile(opened, image);
      await cached.settled();
      await opened.cache.close(cached);
    }
    expect(images.filter(({ requests }) => requests.length > 0)).toHaveLength(8);
    await opened.close();
  });
});
