/** Images of services that send a file only as a whole, and count how often. */
import { expect, test, vi } from 'vitest';
import { MIB, openCache, readRange, temporaryFolder, testImage } from './support.ts';

const TARGET = 'http://registry.test';
const SIZE = 24 * MIB + 17;

/** An image whose bytes from `stop` on wait until they are let go. */
function counted(stop: number) {
  const gate = Promise.withResolvers<void>();
  const { remote, ...image } = testImage(SIZE, {
    beforeChunk: (offset) => (offset < stop ? undefined : gate.promise),
  });
  return { image, remote: { ...remote, sequential: true }, letGo: () => gate.resolve() };
}

test('one read from the beginning to the end serves readers of the first and of the last bytes', async () => {
  const { cache, close } = await openCache(await temporaryFolder());
  const { image, remote, letGo } = counted(4 * MIB);
  const open = cache.open(TARGET, remote, image.source);
  const last = readRange(open, SIZE - 1000, 1000);
  expect(await readRange(open, 0, 1000)).toEqual(image.bytes.subarray(0, 1000));
  expect(await readRange(open, 2 * MIB, 1000)).toEqual(image.bytes.subarray(2 * MIB, 2 * MIB + 1000));
  let isDone = false;
  void last.then(() => (isDone = true));
  expect(isDone).toBe(false);
  letGo();
  expect(await last).toEqual(image.bytes.subarray(SIZE - 1000));
  await open.fetchAll();
  expect(image.requests).toEqual([{ offset: 0, length: SIZE }]);
  await cache.close(open);
  await close();
});

test('the fetch goes on when its reader has closed the image, and the next one finds the bytes', async () => {
  const { cache, close } = await openCache(await temporaryFolder());
  const { image, remote, letGo } = counted(4 * MIB);
  const open = cache.open(TARGET, remote, image.source);
  await readRange(open, 0, 100);
  await cache.close(open);
  letGo();
  await vi.waitFor(() => expect(open.state).toBe('closed'), { timeout: 20_000 });
  const again = cache.open(TARGET, remote, image.source);
  expect(await readRange(again, SIZE - 100, 100)).toEqual(image.bytes.subarray(SIZE - 100));
  expect(image.requests).toHaveLength(1);
  await cache.close(again);
  await close();
});

test('the fetch goes on when its only reader gives up', async () => {
  const { cache, close } = await openCache(await temporaryFolder());
  const { image, remote, letGo } = counted(MIB);
  const open = cache.open(TARGET, remote, image.source);
  const controller = new AbortController();
  const reading = open.read(Buffer.alloc(10), SIZE - 10, 10, open.readAhead(), controller.signal);
  await vi.waitFor(() => expect(image.requests).toHaveLength(1));
  controller.abort();
  await expect(reading).rejects.toThrow();
  letGo();
  await open.fetchAll();
  expect(image.requests).toHaveLength(1);
  await cache.close(open);
  await close();
});

test('closing the cache ends the fetch', async () => {
  const { cache, close } = await openCache(await temporaryFolder());
  const { image, remote } = counted(MIB);
  const open = cache.open(TARGET, remote, image.source);
  await readRange(open, 0, 100);
  await cache.close(open);
  await close();
  expect(open.state).toBe('closed');
});

test('without room in the cache a read fails, and downloads nothing', async () => {
  const { cache, close } = await openCache(await temporaryFolder(), { limit: 4 * MIB });
  const { image, remote } = counted(SIZE);
  const open = cache.open(TARGET, remote, image.source);
  await expect(readRange(open, 0, 100)).rejects.toMatchObject({ code: 'NO_SPACE' });
  expect(image.requests).toEqual([]);
  await cache.close(open);
  await close();
});
