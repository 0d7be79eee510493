import { existsSync, readdirSync } from 'node:fs';
import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { BLOCK_SIZE } from '../../src/cache/block-map.ts';
import { MIB, openCache, readAll, readRange, temporaryFolder, testImage } from './support.ts';

const TARGET = 'http://registry.test';

describe('reading', () => {
  test('a small read of a large image fetches a small part of it, in one request', async () => {
    const { cache, close } = await openCache(await temporaryFolder());
    const image = testImage(32 * MIB);
    const open = await cache.open(TARGET, image.remote, image.source);
    expect(await readRange(open, 10 * MIB, 4096)).toEqual(image.bytes.subarray(10 * MIB, 10 * MIB + 4096));
    expect(image.requests).toHaveLength(1);
    expect(cache.fetchedBytes).toBeLessThan(MIB / 2);
    await cache.close(open);
    await close();
  });

  test('reading everything in order gives the image and asks for each byte once', async () => {
    const { cache, close } = await openCache(await temporaryFolder());
    const image = testImage(9 * MIB + 12_345);
    const open = await cache.open(TARGET, image.remote, image.source);
    expect((await readAll(open)).equals(image.bytes)).toBe(true);
    expect(image.servedTwice()).toBe(0);
    expect(cache.fetchedBytes).toBe(image.bytes.length);
    expect(image.requests.length).toBeLessThan(15);
    await cache.close(open);
    await close();
  });

  test('64 readers at once of one uncached image ask for each byte once', async () => {
    const { cache, close } = await openCache(await temporaryFolder());
    const image = testImage(4 * MIB + 1);
    const readers = Array.from({ length: 64 }, async () => {
      const open = await cache.open(TARGET, image.remote, image.source);
      const bytes = await readAll(open);
      await cache.close(open);
      return bytes.equals(image.bytes);
    });
    expect(await Promise.all(readers)).not.toContain(false);
    expect(image.servedTwice()).toBe(0);
    await close();
  });

  test('random reads at any offset and length give the right bytes', async () => {
    const { cache, close } = await openCache(await temporaryFolder());
    const image = testImage(3 * MIB + 77);
    const open = await cache.open(TARGET, image.remote, image.source);
    const reads = Array.from({ length: 300 }, async (_, i) => {
      const offset = (i * 7_919_311) % (image.bytes.length + 5000);
      const length = 1 + ((i * 104_729) % 150_000);
      const expected = image.bytes.subarray(offset, offset + length);
      return (await readRange(open, offset, length)).equals(expected);
    });
    expect(await Promise.all(reads)).not.toContain(false);
    expect(image.servedTwice()).toBe(0);
    await cache.close(open);
    await close();
  });

  test('a read that fails says why and the next one asks again', async () => {
    const { cache, close } = await openCache(await temporaryFolder());
    let fails = true;
    const image = testImage(MIB, {
      beforeChunk: () => {
        if (fails) throw new Error('connection lost');
      },
    });
    const open = await cache.open(TARGET, image.remote, image.source);
    await expect(readRange(open, 0, 100)).rejects.toThrow('connection lost');
    fails = false;
    expect(await readRange(open, 0, 100)).toEqual(image.bytes.subarray(0, 100));
    await cache.close(open);
    await close();
  });

  test('a canceled read ends its request, and the next read gets the bytes', async () => {
    const { cache, close } = await openCache(await temporaryFolder());
    const gate = Promise.withResolvers<void>();
    let signalSeen: AbortSignal | undefined;
    const image = testImage(MIB, { beforeChunk: () => gate.promise });
    const open = await cache.open(TARGET, image.remote, (offset, length, signal) => {
      signalSeen = signal;
      return image.source(offset, length, signal);
    });
    const controller = new AbortController();
    const read = open.read(Buffer.alloc(10), 0, 10, open.readAhead(), controller.signal);
    await expect.poll(() => signalSeen).toBeDefined();
    controller.abort(new Error('no longer wanted'));
    await expect(read).rejects.toThrow('no longer wanted');
    expect(signalSeen?.aborted).toBe(true);
    gate.resolve();
    expect(await readRange(open, 0, 10)).toEqual(image.bytes.subarray(0, 10));
    await cache.close(open);
    await close();
  });

  test('a service that sends too much or too little is an error, not wrong bytes', async () => {
    const { cache, close } = await openCache(await temporaryFolder());
    const image = testImage(MIB);
    const short = await cache.open(TARGET, image.remote, (offset, length, signal) =>
      image.source(offset, length - 1, signal),
    );
    await expect(readRange(short, 0, 100_000)).resolves.toEqual(image.bytes.subarray(0, 100_000));
    await expect(readRange(short, MIB - 10, 10)).rejects.toThrow('of the');
    await cache.close(short);
    await close();
  });
});

describe('keeping', () => {
  test('what was fetched is there after a restart, and only the rest is fetched then', async () => {
    const root = await temporaryFolder();
    const image = testImage(4 * MIB);
    const first = await openCache(root);
    const open = await first.cache.open(TARGET, image.remote, image.source);
    await readRange(open, 0, MIB);
    await first.cache.close(open);
    await first.close();

    const second = await openCache(root);
    const again = await second.cache.open(TARGET, image.remote, image.source);
    expect(again.cachedBytes).toBeGreaterThanOrEqual(MIB);
    expect((await readAll(again)).equals(image.bytes)).toBe(true);
    expect(image.servedTwice()).toBe(0);
    await second.cache.close(again);
    await second.close();
  });

  test('two processes on one cache ask for each byte once', async () => {
    const root = await temporaryFolder();
    const image = testImage(6 * MIB);
    const caches = await Promise.all([openCache(root), openCache(root)]);
    const reads = caches.map(async ({ cache }) => {
      const open = await cache.open(TARGET, image.remote, image.source);
      const bytes = await readAll(open);
      await cache.close(open);
      return bytes.equals(image.bytes);
    });
    expect(await Promise.all(reads)).toEqual([true, true]);
    expect(image.servedTwice()).toBe(0);
    for (const { close } of caches) await close();
  });

  test('a data file that lost its end is read from the service again', async () => {
    const root = await temporaryFolder();
    const image = testImage(MIB);
    const { cache, close } = await openCache(root);
    const open = await cache.open(TARGET, image.remote, image.source);
    await open.fetchAll();
    await truncate(open.path, MIB / 2);
    expect((await readRange(open, MIB - 1000, 1000)).equals(image.bytes.subarray(MIB - 1000))).toBe(true);
    await cache.close(open);
    await close();
  });

  test('a complete image is compared with its digest; a wrong one is set aside and not served', async () => {
    const root = await temporaryFolder();
    const image = testImage(MIB, { digest: `sha256:${'0'.repeat(64)}` });
    const { cache, index, close } = await openCache(root);
    const open = await cache.open(TARGET, image.remote, image.source);
    await expect(open.fetchAll()).rejects.toMatchObject({ code: 'CORRUPT' });
    await expect(readRange(open, 0, 10)).rejects.toMatchObject({ code: 'CORRUPT' });
    expect(index.entries.list().map(({ key }) => key)).toEqual([expect.stringMatching(/^quarantine-/)]);
    await cache.close(open);
    await close();
  });

  test('an image once verified serves every service that states the same digest', async () => {
    const { cache, close } = await openCache(await temporaryFolder());
    const image = testImage(MIB);
    const open = await cache.open(TARGET, image.remote, image.source);
    await open.fetchAll();
    await cache.close(open);
    const other = await cache.open('http://mirror.test', image.remote, () => {
      throw new Error('asked the mirror');
    });
    expect((await readAll(other)).equals(image.bytes)).toBe(true);
    await cache.close(other);
    await close();
  });

  test('bytes of one service that are not verified are not served for another', async () => {
    const { cache, close } = await openCache(await temporaryFolder());
    const image = testImage(4 * MIB);
    const forged = testImage(4 * MIB, { digest: image.remote.digest });
    const first = await cache.open('http://forger.test', forged.remote, forged.source);
    const host = { ...forged.remote, origin: 'forger.test' };
    const third = await cache.open(TARGET, host, forged.source);
    await readRange(first, 0, 1000);
    await readRange(third, 0, 1000);
    const second = await cache.open(TARGET, image.remote, image.source);
    expect(await readRange(second, 0, 1000)).toEqual(image.bytes.subarray(0, 1000));
    for (const open of [first, second, third]) await cache.close(open);
    await close();
  });

  test('a pushed file moves into the cache and is read from there without a request', async () => {
    const root = await temporaryFolder();
    const { cache, close } = await openCache(root);
    const image = testImage(MIB + 5);
    const file = join(root, 'pushed');
    await writeFile(file, image.bytes);
    expect(await cache.adopt(TARGET, image.remote, file)).toBe(true);
    expect(existsSync(file)).toBe(false);
    const open = await cache.open(TARGET, image.remote, image.source);
    expect((await readAll(open)).equals(image.bytes)).toBe(true);
    expect(image.requests).toHaveLength(0);
    await cache.close(open);
    await close();
  });
});

describe('bounds', () => {
  test('the least recently used image goes first, and the limit holds', async () => {
    const { cache, index, close } = await openCache(await temporaryFolder(), { limit: 5 * MIB });
    const images = ['a', 'b', 'c'].map((name) => testImage(2 * MIB, { name }));
    for (const image of images) {
      const open = await cache.open(TARGET, image.remote, image.source);
      await open.fetchAll();
      await cache.close(open);
      expect(index.total()).toBeLessThanOrEqual(5 * MIB);
    }
    expect(index.entries.list().map(({ uri }) => uri)).toEqual([
      expect.stringContaining('/b:'),
      expect.stringContaining('/c:'),
    ]);
    await close();
  });

  test('an open image is not evicted, in this process or another; reads go through where nothing can be', async () => {
    const root = await temporaryFolder();
    const [one, two] = await Promise.all([
      openCache(root, { limit: 3 * MIB }),
      openCache(root, { limit: 3 * MIB }),
    ]);
    const kept = testImage(2 * MIB, { name: 'kept' });
    const open = await one.cache.open(TARGET, kept.remote, kept.source);
    await open.fetchAll();
    const other = testImage(2 * MIB, { name: 'other' });
    const through = await two.cache.open(TARGET, other.remote, other.source);
    expect((await readAll(through)).equals(other.bytes)).toBe(true);
    expect(one.index.total()).toBeLessThanOrEqual(3 * MIB);
    expect((await readAll(open)).equals(kept.bytes)).toBe(true);
    expect(kept.servedTwice()).toBe(0);
    await one.cache.close(open);
    await two.cache.close(through);
    await one.close();
    await two.close();
  });

  test('without the space that must stay free, reads go through and nothing is kept', async () => {
    const { cache, index, close } = await openCache(await temporaryFolder(), {
      minFree: Number.MAX_SAFE_INTEGER / 2,
    });
    const image = testImage(MIB);
    const open = await cache.open(TARGET, image.remote, image.source);
    expect(await readRange(open, 5, 1000)).toEqual(image.bytes.subarray(5, 1005));
    expect(index.total()).toBe(0);
    await cache.close(open);
    await close();
  });

  test('evicted files leave nothing behind', async () => {
    const root = await temporaryFolder();
    const { cache, close } = await openCache(root, { limit: 3 * MIB });
    for (const name of ['a', 'b', 'c', 'd']) {
      const image = testImage(2 * MIB, { name });
      const open = await cache.open(TARGET, image.remote, image.source);
      await open.fetchAll();
      await cache.close(open);
    }
    await expect.poll(() => readdirSync(join(root, 'trash'))).toEqual([]);
    const folders = readdirSync(join(root, 'images')).flatMap((fan) =>
      readdirSync(join(root, 'images', fan)),
    );
    expect(folders).toHaveLength(1);
    await close();
  });

  test('the cache is counted in whole blocks, so a reservation never passes the limit', async () => {
    const { cache, index, close } = await openCache(await temporaryFolder());
    const image = testImage(BLOCK_SIZE + 1);
    const open = await cache.open(TARGET, image.remote, image.source);
    await open.fetchAll();
    expect(index.total()).toBe(2 * BLOCK_SIZE);
    await cache.close(open);
    await close();
  });
});
