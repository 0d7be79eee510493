import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { mkdir, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { BLOCK_SIZE, checksum } from '../../src/cache/block-map.ts';
import { entryFolder } from '../../src/cache/location.ts';
import { MIB, openCache, readAll, readRange, temporaryFolder, testImage } from './support.ts';

vi.mock('../../src/cache/block-map.ts', { spy: true });

const TARGET = 'http://registry.test';
const SIZE = 2 * MIB + 99;

/** What a purge of old files, or a failing disk, may do to an entry's folder. */
const HARM: Readonly<Record<string, (folder: string) => Promise<void> | void>> = {
  'data was deleted': (folder) => rm(join(folder, 'data')),
  'data was cut': (folder) => truncate(join(folder, 'data'), MIB),
  'data was emptied': (folder) => truncate(join(folder, 'data'), 0),
  'data was emptied and has its length again': async (folder) => {
    await truncate(join(folder, 'data'), 0);
    await truncate(join(folder, 'data'), SIZE);
  },
  'data was replaced by another file': (folder) => writeFile(join(folder, 'data'), Buffer.alloc(SIZE, 1)),
  'data lost a block in its middle': (folder) => {
    const file = openSync(join(folder, 'data'), 'r+');
    writeSync(file, Buffer.alloc(BLOCK_SIZE), 0, BLOCK_SIZE, 5 * BLOCK_SIZE);
    closeSync(file);
  },
  'data is a folder': async (folder) => {
    await rm(join(folder, 'data'));
    await mkdir(join(folder, 'data'));
  },
  'data is a link': async (folder) => {
    await rename(join(folder, 'data'), join(folder, 'elsewhere'));
    await symlink('elsewhere', join(folder, 'data'));
  },
  'the map was deleted': (folder) => rm(join(folder, 'blocks')),
  'the map was emptied': (folder) => truncate(join(folder, 'blocks'), 0),
  'the map is nonsense': (folder) =>
    writeFile(join(folder, 'blocks'), Buffer.alloc(readFileSync(join(folder, 'blocks')).length, 3)),
  'the map is a folder': async (folder) => {
    await rm(join(folder, 'blocks'));
    await mkdir(join(folder, 'blocks'));
  },
  'the folder is a file': async (folder) => {
    await rm(folder, { recursive: true });
    await writeFile(folder, 'no folder');
  },
};

describe.each(Object.entries(HARM))('an entry of which %s', (_what, harm) => {
  test('is read right, and is right afterwards', async () => {
    const root = await temporaryFolder();
    const { cache, index, close } = await openCache(root);
    const image = testImage(SIZE);
    const first = cache.open(TARGET, image.remote, image.source);
    await first.fetchAll();
    await cache.close(first);
    await harm(entryFolder(root, first.key));
    const open = cache.open(TARGET, image.remote, image.source);
    expect((await readAll(open)).equals(image.bytes)).toBe(true);
    await cache.close(open);
    expect(readFileSync(join(entryFolder(root, open.key), 'data')).equals(image.bytes)).toBe(true);
    expect(index.entries.get(open.key)).toMatchObject({
      complete: 1,
      verified: 1,
      bytes: Math.ceil(SIZE / BLOCK_SIZE) * BLOCK_SIZE,
    });
    await close();
  });

  test('is fetched whole for someone who copies its file', async () => {
    const root = await temporaryFolder();
    const { cache, close } = await openCache(root);
    const image = testImage(SIZE);
    const first = cache.open(TARGET, image.remote, image.source);
    await first.fetchAll();
    await cache.close(first);
    await harm(entryFolder(root, first.key));
    const open = cache.open(TARGET, image.remote, image.source);
    await open.fetchAll();
    expect(readFileSync(open.path).equals(image.bytes)).toBe(true);
    await cache.close(open);
    await close();
  });
});

test('a part of an image that was emptied while it is open is fetched again', async () => {
  const { cache, close } = await openCache(await temporaryFolder());
  const image = testImage(SIZE);
  const open = cache.open(TARGET, image.remote, image.source);
  await readRange(open, 0, MIB);
  await truncate(open.path, 0);
  for (const offset of [0, 100_000, MIB, 300_000]) {
    expect(await readRange(open, offset, 5000)).toEqual(image.bytes.subarray(offset, offset + 5000));
  }
  await cache.close(open);
  await close();
});

test('a whole image that nobody changed since it was compared is read without comparing again', async () => {
  const { cache, close } = await openCache(await temporaryFolder());
  const image = testImage(SIZE);
  const first = cache.open(TARGET, image.remote, image.source);
  await first.fetchAll();
  await cache.close(first);
  vi.mocked(checksum).mockClear();
  const open = cache.open(TARGET, image.remote, image.source);
  expect((await readAll(open)).equals(image.bytes)).toBe(true);
  expect(checksum).not.toHaveBeenCalled();
  await cache.close(open);
  await close();
});

test('each block of a part of an image is compared once an opening', async () => {
  const { cache, close } = await openCache(await temporaryFolder());
  const image = testImage(SIZE);
  const first = cache.open(TARGET, image.remote, image.source);
  await readRange(first, 0, BLOCK_SIZE);
  await cache.close(first);
  const open = cache.open(TARGET, image.remote, image.source);
  vi.mocked(checksum).mockClear();
  for (let round = 0; round < 5; round += 1) await readRange(open, round, 1000);
  expect(checksum).toHaveBeenCalledOnce();
  await cache.close(open);
  await close();
});
