/** Bytes that the cache cannot keep are compared with the digest all the same. */
import { Readable } from 'node:stream';
import { expect, test, vi } from 'vitest';
import { SregistryError } from '../../src/base/errors.ts';
import type { RangeSource } from '../../src/cache/receive.ts';
import { MIB, openCache, readAll, readRange, type TestImage, temporaryFolder, testImage } from './support.ts';

const TARGET = 'http://registry.test';

/** A source whose first so many answers have a flipped bit at `at`, where that is in their range. */
function flipping({ source }: TestImage, at: number, times: number): RangeSource {
  let left = times;
  return async (offset, length, signal) => {
    const bytes = Buffer.concat(await (await source(offset, length, signal)).toArray());
    const isHit = offset <= at && at < offset + length && left > 0;
    if (isHit) {
      left -= 1;
      bytes.writeUInt8(bytes.readUInt8(at - offset) ^ 1, at - offset);
    }
    return Readable.from([bytes], { objectMode: false });
  };
}

/** A cache whose index answers no claim: another process keeps the database locked. */
async function lockedCache() {
  const opened = await openCache(await temporaryFolder());
  const locked = vi.spyOn(opened.index.claims, 'acquire').mockImplementation(() => {
    throw new SregistryError('DATABASE', 'another program keeps it locked');
  });
  return { ...opened, locked };
}

test('whoever reads all of an image past the cache gets an error where bytes were wrong', async () => {
  const { cache, close } = await lockedCache();
  const image = testImage(MIB + 5);
  const open = cache.open(TARGET, image.remote, flipping(image, 300_000, 1));
  await expect(readAll(open)).rejects.toMatchObject({ code: 'CORRUPT' });
  await expect(readRange(open, 0, 10)).rejects.toMatchObject({ code: 'CORRUPT' });
  const again = cache.open(TARGET, image.remote, flipping(image, 0, 0));
  expect((await readAll(again)).equals(image.bytes)).toBe(true);
  for (const each of [open, again]) await cache.close(each);
  await close();
});

test('a part that went past the cache is compared when the cache works again', async () => {
  const { cache, close, locked } = await lockedCache();
  const image = testImage(MIB);
  const open = cache.open(TARGET, image.remote, flipping(image, 70_000, 1));
  await readRange(open, 65_536, 65_536);
  locked.mockRestore();
  await expect(readAll(open)).rejects.toMatchObject({ code: 'CORRUPT' });
  await cache.close(open);
  await close();
});

test('what is right passes, fetched once more as a whole and no more', async () => {
  const { cache, close } = await lockedCache();
  const image = testImage(MIB);
  const open = cache.open(TARGET, image.remote, image.source);
  for (let i = 0; i < 2; i += 1) expect((await readAll(open)).equals(image.bytes)).toBe(true);
  expect(image.requests.filter(({ length }) => length === MIB)).toHaveLength(1);
  await cache.close(open);
  await close();
});

test('a whole image of which a wrong part was kept and the rest went past the cache is an error', async () => {
  const { cache, index, close } = await openCache(await temporaryFolder());
  const image = testImage(8 * MIB);
  const open = cache.open(TARGET, image.remote, flipping(image, 70_000, 1));
  await readRange(open, 65_536, 65_536);
  const locked = vi.spyOn(index.claims, 'acquire').mockImplementation(() => {
    throw new SregistryError('DATABASE', 'another program keeps it locked');
  });
  await expect(readAll(open)).rejects.toMatchObject({ code: 'CORRUPT' });
  locked.mockRestore();
  const again = cache.open(TARGET, image.remote, image.source);
  expect((await readAll(again)).equals(image.bytes)).toBe(true);
  for (const each of [open, again]) await cache.close(each);
  await close();
});

test('an image that arrives wrong the second time as well ends reading, and is not fetched for every read', async () => {
  const { cache, close } = await lockedCache();
  const image = testImage(MIB);
  const digest = `sha256:${'0'.repeat(64)}`;
  const open = cache.open(TARGET, { ...image.remote, digest }, image.source);
  await expect(readAll(open)).rejects.toMatchObject({ code: 'CORRUPT' });
  const before = image.requests.length;
  for (let i = 0; i < 3; i += 1)
    await expect(readRange(open, i * 1000, 10)).rejects.toMatchObject({ code: 'CORRUPT' });
  expect(image.requests).toHaveLength(before);
  await cache.close(open);
  await close();
});

test('a reader that leaves while the image is compared does not end that for the others', async () => {
  const { cache, close } = await lockedCache();
  const go = Promise.withResolvers<void>();
  const image = testImage(MIB);
  const source: RangeSource = async (offset, length, signal) => {
    if (length === MIB) await go.promise;
    return image.source(offset, length, signal);
  };
  const open = cache.open(TARGET, image.remote, source);
  for (let offset = 0; offset < MIB - 131_072; offset += 131_072) await readRange(open, offset, 131_072);
  const leaving = new AbortController();
  const read = (signal?: AbortSignal) =>
    open.read(Buffer.alloc(131_072), MIB - 131_072, 131_072, open.readAhead(), signal);
  const reads = [read(leaving.signal), read()];
  await vi.waitFor(() => expect(image.requests.length).toBeGreaterThanOrEqual(9));
  leaving.abort(new SregistryError('TIMED_OUT', 'too late'));
  await expect(reads[0]).rejects.toMatchObject({ code: 'TIMED_OUT' });
  go.resolve();
  expect(await reads[1]).toBe(131_072);
  expect(image.requests.filter(({ length }) => length === MIB)).toHaveLength(1);
  await cache.close(open);
  await close();
});

test.each([0, 1, 65_536, 65_537])(
  'an image of %d bytes past the cache is compared to its last byte',
  async (size) => {
    const { cache, close } = await lockedCache();
    const image = testImage(size);
    const open = cache.open(TARGET, image.remote, image.source);
    expect((await readAll(open)).equals(image.bytes)).toBe(true);
    if (size > 0) {
      const damaged = testImage(size);
      const wrong = cache.open(TARGET, damaged.remote, flipping(damaged, size - 1, 1));
      await expect(readAll(wrong)).rejects.toMatchObject({ code: 'CORRUPT' });
      await cache.close(wrong);
    }
    await cache.close(open);
    await close();
  },
);
