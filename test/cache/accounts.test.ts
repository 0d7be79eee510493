import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { describe, expect, test, vi } from 'vitest';
import { SregistryError } from '../../src/base/errors.ts';
import { BLOCK_SIZE } from '../../src/cache/block-map.ts';
import type { ImageCache } from '../../src/cache/cache.ts';
import { entryFolder } from '../../src/cache/location.ts';
import { detach, emptyTrash } from '../../src/cache/trash.ts';
import { type Verification, type VerifyCounts, verifyCache } from '../../src/cache/verify.ts';
import { MIB, openCache, readAll, readRange, type TestImage, temporaryFolder, testImage } from './support.ts';

const TARGET = 'http://registry.test';

async function keep(cache: ImageCache, image: TestImage): Promise<string> {
  const open = cache.open(TARGET, image.remote, image.source);
  await open.fetchAll();
  await cache.close(open);
  return open.key;
}

describe('room', () => {
  test('what cannot fit evicts nothing', async () => {
    const { cache, index, close } = await openCache(await temporaryFolder(), { limit: 6 * MIB });
    await keep(cache, testImage(2 * MIB, { name: 'a' }));
    await keep(cache, testImage(2 * MIB, { name: 'b' }));
    const used = testImage(MIB, { name: 'used' });
    const open = cache.open(TARGET, used.remote, used.source);
    await open.fetchAll();
    expect(await cache.makeRoom(7 * MIB)).toBe(false);
    expect(await cache.makeRoom(6 * MIB)).toBe(false);
    expect(index.entries.list()).toHaveLength(3);
    expect(await cache.makeRoom(5 * MIB)).toBe(true);
    expect(index.entries.list()).toHaveLength(1);
    await cache.close(open);
    await close();
  });

  test('a reserve that cannot be reached evicts nothing', async () => {
    const root = await temporaryFolder();
    const first = await openCache(root);
    await keep(first.cache, testImage(MIB));
    await first.close();
    const { cache, index, close } = await openCache(root, { minFree: Number.MAX_SAFE_INTEGER / 2 });
    expect(await cache.makeRoom(1)).toBe(false);
    expect(index.entries.list()).toHaveLength(1);
    await close();
  });

  test('no more is evicted than is needed, up to a little slack', async () => {
    const { cache, index, close } = await openCache(await temporaryFolder(), { limit: 10 * MIB });
    for (let i = 0; i < 10; i += 1) await keep(cache, testImage(MIB, { name: `n${i}` }));
    expect(await cache.makeRoom(2 * MIB)).toBe(true);
    expect(index.entries.list()).toHaveLength(8);
    await close();
  });
});

test('what another process reserved and stored is counted once, also when the files are looked at meanwhile', async () => {
  const root = await temporaryFolder();
  const [one, two] = await Promise.all([openCache(root), openCache(root)]);
  const half = Promise.withResolvers<void>();
  const gate = Promise.withResolvers<void>();
  const image = testImage(MIB, {
    beforeChunk: async (offset) => {
      if (offset < MIB / 2) return;
      half.resolve();
      await gate.promise;
    },
  });
  const first = one.cache.open(TARGET, image.remote, image.source);
  const fetched = first.fetchAll();
  await half.promise;
  await expect.poll(() => first.cachedBytes).toBeGreaterThanOrEqual(MIB / 4);
  const second = two.cache.open(TARGET, image.remote, image.source);
  expect(one.index.total()).toBe(MIB);
  expect(two.cache.bytes).toBeLessThanOrEqual(MIB / 2);
  gate.resolve();
  await fetched;
  expect(one.index.total()).toBe(MIB);
  await one.cache.close(first);
  await two.cache.close(second);
  await one.close();
  await two.close();
});

test('while another process fetches, the map is looked at and nothing is written to the index', async () => {
  const root = await temporaryFolder();
  const [one, two] = await Promise.all([openCache(root), openCache(root)]);
  const gate = Promise.withResolvers<void>();
  const image = testImage(MIB, { beforeChunk: () => gate.promise });
  const first = one.cache.open(TARGET, image.remote, image.source);
  const reads = [readRange(first, 0, 10)];
  await expect.poll(() => one.index.claims.isClaimed(first.key, 0)).toBe(true);
  const second = two.cache.open(TARGET, image.remote, image.source);
  const claim = vi.spyOn(two.index.claims, 'acquire');
  const look = vi.spyOn(two.index.claims, 'isClaimed');
  reads.push(readRange(second, 0, 10));
  await expect.poll(() => look.mock.calls.length).toBeGreaterThan(3);
  expect(claim).not.toHaveBeenCalled();
  gate.resolve();
  for (const read of await Promise.all(reads)) expect(read).toEqual(image.bytes.subarray(0, 10));
  expect(image.servedTwice()).toBe(0);
  await one.cache.close(first);
  await two.cache.close(second);
  await one.close();
  await two.close();
});

test('many questions for bytes on disk share one reading of the index, and see what this process changes', async () => {
  const { cache, index, close } = await openCache(await temporaryFolder());
  const images = Array.from({ length: 60 }, (_, number) => testImage(BLOCK_SIZE, { name: `image${number}` }));
  const [first, second] = images as [TestImage, TestImage];
  await keep(cache, first);
  const statements = [vi.spyOn(index.entries, 'get'), vi.spyOn(index.entries, 'list')];
  const bytes = () => images.map(({ remote }) => cache.cachedBytes(TARGET, remote));
  const wanted = images.map((image) => (image === first ? BLOCK_SIZE : 0));
  expect(bytes()).toEqual(wanted);
  expect(statements.reduce((sum, { mock }) => sum + mock.calls.length, 0)).toBeLessThan(images.length / 2);
  const open = cache.open(TARGET, second.remote, second.source);
  await open.fetchAll();
  expect(bytes()[1]).toBe(BLOCK_SIZE);
  await cache.close(open);
  expect(bytes()[1]).toBe(BLOCK_SIZE);
  await close();
});

test('what is on disk is found, counted, served and evicted after the index was lost', async () => {
  const root = await temporaryFolder();
  const first = await openCache(root);
  const image = testImage(2 * MIB);
  const part = testImage(4 * MIB, { name: 'part' });
  await keep(first.cache, image);
  const open = first.cache.open(TARGET, part.remote, part.source);
  await readRange(open, 0, 1000);
  await first.cache.close(open);
  const before = first.index.total();
  await first.close();
  for (const name of readdirSync(root).filter((name) => name.startsWith('state.db')))
    await rm(join(root, name));

  const { cache, index, close } = await openCache(root, { limit: 5 * MIB });
  expect(index.total()).toBe(before);
  expect(cache.cachedBytes(TARGET, image.remote)).toBe(2 * MIB);
  const requests = image.requests.length;
  const again = cache.open(TARGET, image.remote, image.source);
  expect((await readAll(again)).equals(image.bytes)).toBe(true);
  expect(image.requests).toHaveLength(requests);
  await cache.close(again);
  expect(await cache.makeRoom(5 * MIB)).toBe(true);
  expect(index.entries.list()).toEqual([]);
  await expect.poll(() => existsSync(entryFolder(root, again.key))).toBe(false);
  await close();
});

test('a cache whose index is busy is read through, and what it holds is read', async () => {
  const root = await temporaryFolder();
  const { cache, close } = await openCache(root);
  const held = testImage(MIB, { name: 'held' });
  await keep(cache, held);
  const other = new Sqlite(join(root, 'state.db'));
  other.exec('BEGIN IMMEDIATE');
  const image = testImage(MIB);
  const through = cache.open(TARGET, image.remote, image.source);
  expect((await readAll(through)).equals(image.bytes)).toBe(true);
  const requests = held.requests.length;
  const open = cache.open(TARGET, held.remote, held.source);
  expect((await readAll(open)).equals(held.bytes)).toBe(true);
  expect(held.requests).toHaveLength(requests);
  other.exec('ROLLBACK');
  other.close();
  await cache.close(through);
  await cache.close(open);
  await close();
});

describe('the trash', () => {
  test('emptied by one process while another throws away loses nothing and leaves nothing', async () => {
    const root = await temporaryFolder();
    for (let round = 0; round < 50; round += 1) {
      const folder = entryFolder(root, `key${round}`);
      mkdirSync(folder, { recursive: true });
      writeFileSync(join(folder, 'data'), 'x');
      const emptied = emptyTrash(root);
      await rm(join(root, 'trash'), { recursive: true, force: true });
      const removed = detach(root, `key${round}`);
      expect(existsSync(folder)).toBe(false);
      await Promise.all([emptied, removed]);
    }
    await emptyTrash(root);
    expect(readdirSync(join(root, 'trash'))).toEqual([]);
  });

  test('keeps its folder when it is emptied, as others move things into it', async () => {
    const root = await temporaryFolder();
    mkdirSync(join(root, 'trash', 'left'), { recursive: true });
    const { ino } = statSync(join(root, 'trash'));
    expect(await emptyTrash(root)).toBe(1);
    expect(statSync(join(root, 'trash')).ino).toBe(ino);
  });

  test('that cannot be emptied breaks nothing', async () => {
    const root = await temporaryFolder();
    const folder = entryFolder(root, 'key');
    mkdirSync(folder, { recursive: true });
    const remove = detach(root, 'key');
    await rm(join(root, 'trash'), { recursive: true, force: true });
    await expect(remove).resolves.toBeUndefined();
  });
});

describe('verifying', () => {
  async function verify(root: string, index: Parameters<typeof verifyCache>[0]['index']) {
    const images: Verification[] = [];
    const verification = verifyCache({ root, index });
    for (let next = await verification.next(); ; next = await verification.next()) {
      if (next.done) return { images, counts: next.value as VerifyCounts };
      images.push(next.value);
    }
  }

  test('a cache that is in order finds nothing to do', async () => {
    const root = await temporaryFolder();
    const { cache, index, close } = await openCache(root);
    await keep(cache, testImage(MIB));
    const { images, counts } = await verify(root, index);
    expect(images.map(({ result }) => result)).toEqual(['right']);
    expect(counts).toMatchObject({
      clearDead: { openings: 0, claims: 0 },
      rebuildIndex: { entries: 0 },
      countBlocks: { miscounted: 0 },
      sweep: { unknown: 0, temporary: 0, trash: 0 },
      compare: { right: 1, wrong: 0, unverifiable: 0, firstCompared: 0, lostBlocks: 0 },
    });
    await close();
  });

  test('every step mends what belongs to it and counts it', async () => {
    const root = await temporaryFolder();
    const { cache, index, close } = await openCache(root);
    const [forgotten, uncounted, uncompared, wrong] = await Promise.all(
      ['forgotten', 'uncounted', 'uncompared', 'wrong'].map((name) => keep(cache, testImage(MIB, { name }))),
    );
    const part = testImage(4 * MIB, { name: 'part' });
    const open = cache.open(TARGET, part.remote, part.source);
    await readRange(open, 0, 1000);
    await cache.close(open);
    const lookOf = (bytes: number) => ({
      presentBytes: () => bytes,
      absentBytes: () => 0,
      isCurrent: () => true,
    });
    const db = new Sqlite(join(root, 'state.db'));
    db.prepare('DELETE FROM cache_entries WHERE key = ?').run(forgotten);
    db.close();
    index.setBytes(uncounted as string, 5);
    index.recount(uncompared as string, lookOf(MIB));
    await writeFile(join(entryFolder(root, wrong as string), 'data'), Buffer.alloc(MIB, 1));
    await writeFile(join(entryFolder(root, open.key), 'data'), Buffer.alloc(4 * MIB));
    mkdirSync(join(root, 'images', 'no', 'nonsense'), { recursive: true });
    mkdirSync(join(root, 'trash', 'left'), { recursive: true });

    const { images, counts } = await verify(root, index);
    expect(counts).toMatchObject({
      rebuildIndex: { entries: 1 },
      countBlocks: { miscounted: 1 },
      sweep: { unknown: 1 },
      compare: { right: 3, wrong: 1, unverifiable: 1, firstCompared: 2 },
    });
    expect(counts.compare?.lostBlocks).toBeGreaterThan(0);
    expect(images.find(({ uri }) => uri.includes('wrong'))?.result).toBe('wrong');
    expect(index.entries.get(wrong as string)).toBeUndefined();
    expect(index.entries.get(open.key)?.bytes).toBe(0);
    for (const key of [forgotten, uncounted, uncompared])
      expect(index.entries.get(key as string)).toMatchObject({ bytes: MIB, complete: 1, verified: 1 });
    expect(existsSync(join(root, 'images', 'no', 'nonsense'))).toBe(false);

    const again = await verify(root, index);
    expect(again.counts).toMatchObject({
      rebuildIndex: { entries: 0 },
      countBlocks: { miscounted: 0 },
      sweep: { unknown: 0 },
      compare: { right: 3, wrong: 0, firstCompared: 0, lostBlocks: 0 },
    });
    await close();
  });
});

test('a file of another size is not taken into the cache', async () => {
  const root = await temporaryFolder();
  const { cache, index, close } = await openCache(root);
  const image = testImage(MIB);
  const file = join(root, 'pushed');
  await writeFile(file, image.bytes.subarray(0, MIB - BLOCK_SIZE));
  expect(await cache.adopt(TARGET, image.remote, file)).toBe(false);
  expect(existsSync(file)).toBe(true);
  expect(index.entries.list()).toEqual([]);
  expect(existsSync(join(root, 'images'))).toBe(false);
  await close();
});

test('an index that cannot be asked leaves the counts as last known, and says nothing is there of what is not open', async () => {
  const { cache, index, close } = await openCache(await temporaryFolder());
  const [image, other] = [testImage(MIB), testImage(MIB, { name: 'other' })];
  const open = cache.open(TARGET, image.remote, image.source);
  await open.fetchAll();
  await keep(cache, other);
  const { bytes } = cache;
  expect(bytes).toBe(2 * MIB);
  const damaged = () => {
    throw new SregistryError('DATABASE', 'damaged');
  };
  for (const call of ['get', 'stored', 'findVerified'] as const)
    vi.spyOn(index.entries, call).mockImplementation(damaged);
  expect(cache.bytes).toBe(bytes);
  expect(cache.cachedBytes(TARGET, image.remote)).toBe(MIB);
  expect(cache.cachedBytes(TARGET, other.remote)).toBe(0);
  vi.restoreAllMocks();
  await cache.close(open);
  await close();
});
