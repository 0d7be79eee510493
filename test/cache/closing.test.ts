import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { MIB, openCache, readAll, readRange, temporaryFolder, testImage } from './support.ts';

const TARGET = 'http://registry.test';

/** A gate that a stream waits at from the second chunk on. */
function gated(size: number) {
  const gate = Promise.withResolvers<void>();
  const arrived = Promise.withResolvers<void>();
  const image = testImage(size, {
    beforeChunk: async (offset) => {
      if (offset === 0) return;
      arrived.resolve();
      await gate.promise;
    },
  });
  return { image, open: gate.resolve, waiting: arrived.promise };
}

test('nothing is written for an image after its close, not even into files that got its descriptors', async () => {
  const root = await temporaryFolder();
  const { cache, close } = await openCache(root);
  const { image, open: letGo, waiting } = gated(MIB);
  const open = cache.open(TARGET, image.remote, image.source);
  const read = readRange(open, 0, MIB);
  read.catch(() => {});
  await waiting;
  await cache.close(open);
  expect(open.state).toBe('closed');
  const files = Array.from({ length: 40 }, (_, index) => join(root, `other${index}`));
  const descriptors = files.map((file) => openSync(file, 'w+'));
  letGo();
  await expect(read).rejects.toMatchObject({ code: 'CANCELED' });
  await sleep(50);
  for (const descriptor of descriptors) closeSync(descriptor);
  expect(files.map((file) => readFileSync(file).length)).toEqual(files.map(() => 0));
  await close();
});

test('closing ends the requests of an image, also where their stream does not listen to a signal', async () => {
  const { cache, index, close } = await openCache(await temporaryFolder());
  const { image, waiting } = gated(MIB);
  let signalSeen: AbortSignal | undefined;
  const open = cache.open(TARGET, image.remote, (offset, length, signal) => {
    signalSeen = signal;
    return image.source(offset, length, signal);
  });
  const read = readRange(open, 0, 100);
  read.catch(() => {});
  await waiting;
  await cache.close(open);
  expect(signalSeen?.aborted).toBe(true);
  expect(open.pendingBytes).toBe(0);
  expect(index.claims.isClaimed(open.key, 0)).toBe(false);
  expect(index.total()).toBe(index.entries.stored());
  await expect(open.read(Buffer.alloc(1), 0, 1, open.readAhead())).rejects.toMatchObject({
    code: 'CANCELED',
  });
  await close();
});

test('an image opened again while it closes is open, has files of its own and reads right bytes', async () => {
  const { cache, index, close } = await openCache(await temporaryFolder());
  const image = testImage(2 * MIB);
  for (let round = 0; round < 20; round += 1) {
    const first = cache.open(TARGET, image.remote, image.source);
    const abandoned = readRange(first, 0, MIB);
    abandoned.catch(() => {});
    const closed = cache.close(first);
    const second = cache.open(TARGET, image.remote, image.source);
    expect(second).not.toBe(first);
    await closed;
    expect(index.opens.isOpen(second.key)).toBe(true);
    const offset = round * 50_000;
    expect(await readRange(second, offset, 1000)).toEqual(image.bytes.subarray(offset, offset + 1000));
    await cache.close(second);
    expect(index.opens.isOpen(second.key)).toBe(false);
  }
  await close();
});

test('an image whose folder was removed closes, and leaves neither descriptors nor an opening', async () => {
  const { cache, index, close } = await openCache(await temporaryFolder());
  const image = testImage(MIB);
  const before = readdirSync('/proc/self/fd').length;
  const open = cache.open(TARGET, image.remote, image.source);
  await readRange(open, 0, 1000);
  await rm(dirname(open.path), { recursive: true });
  await cache.close(open);
  expect(readdirSync('/proc/self/fd').length).toBeLessThanOrEqual(before);
  expect(index.opens.isOpen(open.key)).toBe(false);
  await close();
});

test('stopping waits for closes under way', async () => {
  const { cache, close } = await openCache(await temporaryFolder());
  const image = testImage(MIB);
  const open = cache.open(TARGET, image.remote, image.source);
  const read = readAll(open);
  read.catch(() => {});
  void cache.close(open);
  await close();
  expect(open.state).toBe('closed');
});

test('a signal that has fired already starts no request', async () => {
  const { cache, close } = await openCache(await temporaryFolder());
  const image = testImage(MIB);
  const open = cache.open(TARGET, image.remote, image.source);
  const fired = AbortSignal.abort(new Error('no longer wanted'));
  for (const signal of [fired, () => fired]) {
    await expect(open.read(Buffer.alloc(10), 0, 10, open.readAhead(), signal)).rejects.toThrow('no longer');
  }
  await expect(open.fetchAll(undefined, fired)).rejects.toThrow('no longer');
  expect(image.requests).toEqual([]);
  expect(open.pendingBytes).toBe(0);
  await cache.close(open);
  await close();
});
