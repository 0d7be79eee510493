import { expect, test } from 'vitest';
import { freeSpace } from '../../src/cache/location.ts';
import { needs } from '../helpers/skip.ts';
import { smallDisk } from '../helpers/small-disk.ts';
import { MIB, openCache, readAll, testImage } from './support.ts';

const TARGET = 'http://registry.test';

needs({ root: true })('a disk without a byte left', () => {
  test('gives what is cached, and reads what is not through', async () => {
    const { root, fill } = await smallDisk(12);
    const { cache, close } = await openCache(root);
    const held = testImage(MIB, { name: 'held' });
    const first = cache.open(TARGET, held.remote, held.source);
    await first.fetchAll();
    const begun = testImage(MIB, { name: 'begun' });
    const opened = cache.open(TARGET, begun.remote, begun.source);
    fill();
    expect((await readAll(opened)).equals(begun.bytes)).toBe(true);
    await cache.close(first);
    const fresh = testImage(MIB, { name: 'fresh' });
    const late = cache.open(TARGET, fresh.remote, fresh.source);
    expect((await readAll(late)).equals(fresh.bytes)).toBe(true);
    const requests = held.requests.length;
    const again = cache.open(TARGET, held.remote, held.source);
    expect((await readAll(again)).equals(held.bytes)).toBe(true);
    expect(held.requests).toHaveLength(requests);
    for (const open of [opened, late, again]) await cache.close(open);
    await close();
  });

  test('has room again where cached images can go', async () => {
    const { root, fill } = await smallDisk(12);
    const { cache, index, close } = await openCache(root);
    const image = testImage(2 * MIB);
    const open = cache.open(TARGET, image.remote, image.source);
    await open.fetchAll();
    await cache.close(open);
    fill();
    expect(await cache.makeRoom(4 * MIB)).toBe(false);
    expect(index.entries.list()).toHaveLength(1);
    expect(await cache.makeRoom(MIB)).toBe(true);
    expect(index.entries.list()).toHaveLength(0);
    await close();
  });

  test('gets its reserve back from cached images, whoever used it up', async () => {
    const { root, fill } = await smallDisk(12);
    const { cache, index, close } = await openCache(root, { limit: 8 * MIB, minFree: MIB });
    for (const name of ['old', 'older', 'oldest']) {
      const image = testImage(MIB, { name });
      const open = cache.open(TARGET, image.remote, image.source);
      await open.fetchAll();
      await cache.close(open);
    }
    fill();
    await expect.poll(async () => (await freeSpace(root)) >= MIB).toBe(true);
    expect(index.entries.list().length).toBeGreaterThan(0);
    await close();
  });
});
