import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';
import { BLOCK_SIZE, BlockMap, checksum } from '../../src/cache/block-map.ts';
import { entryFolder } from '../../src/cache/location.ts';
import { openState } from '../../src/catalog/state.ts';
import { MIB, openCache, readAll, temporaryFolder, testImage } from './support.ts';

const run = promisify(execFile);
const READER = join(import.meta.dirname, 'reader-process.ts');
const CLAIMANT = join(import.meta.dirname, 'claimant-process.ts');

/** Serves ranges of images over HTTP on loopback, each under its number, in small writes; its URL. */
async function serve(images: readonly Buffer[]): Promise<string> {
  const server = createServer(async (request, response) => {
    const [, from = '', to = ''] = /bytes=(\d+)-(\d+)/.exec(request.headers.range ?? '') ?? [];
    const bytes = images[Number(request.url?.slice(1))] as Buffer;
    const [start, end] = [Number(from), Number(to) + 1];
    response.writeHead(206, { 'content-length': end - start });
    for (let at = start; at < end && !response.destroyed; at += 32_768) {
      if (!response.write(bytes.subarray(at, Math.min(end, at + 32_768))))
        await Promise.race([once(response, 'drain'), once(response, 'close')]);
    }
    response.end();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}

test('eight processes that open, read a little and close read right bytes, and keep right bytes alone', async () => {
  const root = await temporaryFolder();
  const images = Array.from({ length: 6 }, () => randomBytes(12 * MIB + 777));
  const files = images.map((_, index) => join(root, `image${index}`));
  await Promise.all(files.map((file, index) => writeFile(file, images[index] as Buffer)));
  const url = await serve(images);
  const readers = Array.from({ length: 8 }, (_, seed) =>
    run(process.execPath, ['--no-warnings', READER, root, url, '30', String(seed + 1), ...files]),
  );
  const outputs = await Promise.all(readers);
  expect(outputs.map(({ stdout }) => stdout)).toEqual(Array(8).fill('0'));

  const state = openState(root);
  onTestFinished(() => state.close());
  const entries = state.cacheIndex.entries.list();
  expect(entries).toHaveLength(images.length);
  expect(state.cacheIndex.total()).toBe(state.cacheIndex.entries.stored());
  for (const { key, uri, bytes } of entries) {
    const image = images[Number(/image(\d)/.exec(uri)?.[1])] as Buffer;
    expect(presentBlocks(entryFolder(root, key), image)).toBe(bytes / BLOCK_SIZE);
  }
});

/** How many blocks of an entry are present; each is compared with the image. */
function presentBlocks(folder: string, image: Buffer): number {
  const data = readFileSync(join(folder, 'data'));
  const map = BlockMap.open(join(folder, 'blocks'), image.length) as BlockMap;
  for (let block = 0; block < map.blocks; block += 1) {
    if (!map.has(block)) continue;
    const expected = image.subarray(block * BLOCK_SIZE, (block + 1) * BLOCK_SIZE);
    expect(data.subarray(block * BLOCK_SIZE, (block + 1) * BLOCK_SIZE).equals(expected)).toBe(true);
    expect(map.matches(block, checksum(expected))).toBe(true);
  }
  map.close();
  return map.present;
}

/** A process that holds a claim on the first blocks of an image, whose bytes are served when `serve` is called. */
async function claimant(root: string, image: ReturnType<typeof testImage>) {
  const gate = Promise.withResolvers<void>();
  const server = createServer(async (request, response) => {
    const [, from = '', to = ''] = /bytes=(\d+)-(\d+)/.exec(request.headers.range ?? '') ?? [];
    await gate.promise;
    response.end(image.bytes.subarray(Number(from), Number(to) + 1));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const url = `http://127.0.0.1:${port}/`;
  const args = ['--no-warnings', CLAIMANT, root, url, JSON.stringify(image.remote)];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  onTestFinished(() => {
    child.kill('SIGKILL');
    server.closeAllConnections();
    server.close();
  });
  await once(child.stdout, 'data');
  return { child, serve: gate.resolve };
}

test('a stopped process does not keep others from the blocks it claimed, and does no harm when it goes on', async () => {
  const root = await temporaryFolder();
  const image = testImage(MIB);
  const { child, serve: letGo } = await claimant(root, image);
  child.kill('SIGSTOP');
  const { cache, index, close } = await openCache(root);
  const open = cache.open('http://registry.test', image.remote, image.source);
  expect((await readAll(open)).equals(image.bytes)).toBe(true);
  letGo();
  const said = once(child.stdout, 'data');
  const ended = once(child, 'close');
  child.kill('SIGCONT');
  expect(String(await said)).toBe('done\n');
  await ended;
  await cache.close(open);
  expect(index.total()).toBe(MIB);
  expect(presentBlocks(entryFolder(root, open.key), image.bytes)).toBe(MIB / BLOCK_SIZE);
  await close();
});

test('a process that was killed does not keep others from the blocks it claimed', async () => {
  const root = await temporaryFolder();
  const image = testImage(MIB);
  const { child } = await claimant(root, image);
  const { cache, index, close } = await openCache(root);
  const open = cache.open('http://registry.test', image.remote, image.source);
  const read = readAll(open);
  child.kill('SIGKILL');
  expect((await read).equals(image.bytes)).toBe(true);
  expect(index.total()).toBe(MIB);
  await cache.close(open);
  await close();
});

test('An image is copied from the bytes that were compared, though another process made its entry anew.', async () => {
  const root = await temporaryFolder();
  const [one, two] = [await openCache(root), await openCache(root)];
  const image = testImage(MIB);
  const open = one.cache.open('http://registry.test', image.remote, image.source);
  await open.fetchAll();
  const stamp = open.stamp();
  await rm(join(entryFolder(root, open.key), 'blocks'));
  const again = two.cache.open('http://registry.test', image.remote, image.source);
  expect(readFileSync(again.path).equals(image.bytes)).toBe(false);
  const file = join(await temporaryFolder(), 'copy');
  await open.copyTo(file);
  expect(readFileSync(file).equals(image.bytes)).toBe(true);
  expect(again.stamp()).not.toBe(stamp);
  await two.close();
  await one.close();
  await expect(open.copyTo(`${file}2`)).rejects.toMatchObject({ code: 'CANCELED' });
});
