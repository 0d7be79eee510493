import { openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import * as hash from '../../src/base/hash.ts';
import { BLOCK_SIZE, BlockMap, checksum } from '../../src/cache/block-map.ts';
import { entryFolder } from '../../src/cache/location.ts';
import { MIB, openCache, readAll, readRange, temporaryFolder, testImage } from './support.ts';

vi.mock('../../src/base/hash.ts', { spy: true });
afterEach(() => vi.mocked(hash.sha256File).mockReset());

const TARGET = 'http://registry.test';
const WRONG = `sha256:${'0'.repeat(64)}`;

/** As an index says of an entry that was complete when its process was killed. */
const uncompared = (bytes: number) => ({
  presentBytes: () => bytes,
  absentBytes: () => 0,
  isCurrent: () => true,
});

/** Replaces a block on disk by other bytes, and its checksum by theirs: as the service would have sent them. */
function forge(root: string, key: string, size: number, block: number): void {
  const bytes = Buffer.alloc(Math.min(BLOCK_SIZE, size - block * BLOCK_SIZE), 7);
  const folder = entryFolder(root, key);
  writeSync(openSync(join(folder, 'data'), 'r+'), bytes, 0, bytes.length, block * BLOCK_SIZE);
  const map = BlockMap.open(join(folder, 'blocks'), size);
  map?.mark(block, [checksum(bytes)]);
  map?.close();
}

test('whoever reads all of an image whose bytes are wrong gets an error, the first time already', async () => {
  const { cache, index, close } = await openCache(await temporaryFolder());
  const image = testImage(3 * MIB + 5, { digest: WRONG });
  const open = cache.open(TARGET, image.remote, image.source);
  await expect(readAll(open)).rejects.toMatchObject({ code: 'CORRUPT' });
  expect(index.entries.list().map(({ key }) => key)).toEqual([expect.stringMatching(/^quarantine-/)]);
  await cache.close(open);
  await close();
});

test('the blocks read before the last one arrived need not wait for the comparison', async () => {
  const { cache, close } = await openCache(await temporaryFolder());
  const image = testImage(MIB, { digest: WRONG });
  const open = cache.open(TARGET, image.remote, image.source);
  expect(await readRange(open, 0, 1000)).toEqual(image.bytes.subarray(0, 1000));
  await expect(readRange(open, MIB - 1000, 1000)).resolves.toBeDefined();
  await cache.close(open);
  await close();
});

test('an image without a digest is complete at once', async () => {
  const { cache, index, close } = await openCache(await temporaryFolder());
  const image = testImage(MIB, { digest: undefined });
  const open = cache.open(TARGET, image.remote, image.source);
  expect((await readAll(open)).equals(image.bytes)).toBe(true);
  expect(hash.sha256File).not.toHaveBeenCalled();
  await cache.close(open);
  expect(index.entries.get(open.key)).toMatchObject({ complete: 1, verified: 0 });
  await close();
});

test('a complete image that was never compared is compared before its first byte is served', async () => {
  const root = await temporaryFolder();
  const { cache, index, close } = await openCache(root);
  const image = testImage(MIB);
  const first = cache.open(TARGET, image.remote, image.source);
  await first.fetchAll();
  await cache.close(first);
  index.recount(first.key, uncompared(MIB));
  forge(root, first.key, MIB, 9);

  const open = cache.open(TARGET, image.remote, image.source);
  await expect(readRange(open, 0, 10)).rejects.toMatchObject({ code: 'CORRUPT' });
  await cache.close(open);
  const again = cache.open(TARGET, image.remote, image.source);
  expect((await readAll(again)).equals(image.bytes)).toBe(true);
  await cache.close(again);
  expect(index.entries.get(again.key)).toMatchObject({ complete: 1, verified: 1 });
  await close();
});

test('one that is right is compared once and then served without a request', async () => {
  const { cache, index, close } = await openCache(await temporaryFolder());
  const image = testImage(MIB);
  const first = cache.open(TARGET, image.remote, image.source);
  await first.fetchAll();
  await cache.close(first);
  index.recount(first.key, uncompared(MIB));
  vi.mocked(hash.sha256File).mockClear();
  const requests = image.requests.length;
  for (let round = 0; round < 2; round += 1) {
    const open = cache.open(TARGET, image.remote, image.source);
    expect((await readAll(open)).equals(image.bytes)).toBe(true);
    await cache.close(open);
  }
  expect(hash.sha256File).toHaveBeenCalledOnce();
  expect(image.requests).toHaveLength(requests);
  await close();
});

test('a comparison that failed for a passing reason is made again', async () => {
  const { cache, index, close } = await openCache(await temporaryFolder());
  const image = testImage(MIB);
  const open = cache.open(TARGET, image.remote, image.source);
  vi.mocked(hash.sha256File).mockRejectedValue(Object.assign(new Error('EMFILE'), { code: 'EMFILE' }));
  await expect(open.fetchAll()).rejects.toThrow('EMFILE');
  vi.mocked(hash.sha256File).mockReset();
  await open.fetchAll();
  expect((await readAll(open)).equals(image.bytes)).toBe(true);
  await cache.close(open);
  expect(index.entries.get(open.key)).toMatchObject({ complete: 1, verified: 1 });
  await close();
});

test('an image is right where only the note of it fails, and is compared the next time', async () => {
  const { cache, index, close } = await openCache(await temporaryFolder());
  const image = testImage(MIB);
  const open = cache.open(TARGET, image.remote, image.source);
  vi.spyOn(index, 'markComplete').mockImplementationOnce(() => {
    throw new Error('database is busy');
  });
  expect((await readAll(open)).equals(image.bytes)).toBe(true);
  await cache.close(open);
  const again = cache.open(TARGET, image.remote, image.source);
  await readRange(again, 0, 1);
  await cache.close(again);
  expect(index.entries.get(again.key)).toMatchObject({ complete: 1, verified: 1 });
  await close();
});
