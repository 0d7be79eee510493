/** What a listing saves: `ls -l` asks once for a folder, not once for each of its images. */
import { once } from 'node:events';
import { constants } from 'node:fs';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pMap from 'p-map';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import type { Filesystem } from '../../src/fs/filesystem.ts';
import { needs } from '../helpers/skip.ts';
import { startFaultProxy } from '../servers/fault-proxy.ts';
import { startS3 } from '../servers/s3.ts';
import { copyIn, errnoOfCall, image, openWorld, readFileAt, temporaryFolder } from './support.ts';

/** More than are looked at at once. */
const MANY = 700;

/** What stat(2) gives: the adapter to FUSE asks for what a listing told first. */
async function stat(filesystem: Filesystem, path: string) {
  return filesystem.listedAttributes(path) ?? filesystem.getattr(path);
}

/** `ls -l`: the sizes, by name. */
async function list(filesystem: Filesystem, folder: string): Promise<Map<string, number>> {
  const sizes = new Map<string, number>();
  await filesystem.opendir(folder);
  for (const name of await filesystem.readdir(folder)) {
    sizes.set(name, (await stat(filesystem, `${folder}/${name}`)).size);
    // Between two operations the process does what else there is to do.
    await new Promise(setImmediate);
  }
  return sizes;
}

describe('a directory', () => {
  const build = async (count = MANY) => {
    const base = await temporaryFolder();
    await mkdir(join(base, 'demo'));
    const names = Array.from({ length: count }, (_, number) => `image${number}:1.0.sif`);
    for (const [number, name] of names.entries())
      await writeFile(join(base, 'demo', name), Buffer.alloc(number));
    const world = await openWorld({ lab: { driver: 'dir', base } });
    return { ...world, base, names, backend: await world.session.backend('lab') };
  };

  test('`ls -l` answers from one listing.', async () => {
    const { filesystem, names, backend } = await build();
    const [listing, resolving] = [vi.spyOn(backend, 'list'), vi.spyOn(backend, 'resolve')];
    const sizes = await list(filesystem, '/lab/demo');
    expect(sizes).toEqual(new Map(names.map((name, number) => [name, number])));
    expect(listing).toHaveBeenCalledTimes(1);
    // Those that were asked for before the first batch was there.
    expect(resolving.mock.calls.length).toBeLessThan(MANY / 4);
  });

  test('`ls` examines no image, and one stat after it examines that image alone', async () => {
    const { filesystem, backend } = await build(20);
    const entries = await Array.fromAsync(backend.list('demo'));
    const looks = entries.map((entry) => vi.spyOn(entry as { look(): unknown }, 'look'));
    vi.spyOn(backend, 'list').mockImplementation(async function* () {
      yield* entries;
    });
    await filesystem.readdir('/lab/demo');
    expect((await stat(filesystem, '/lab/demo/image7:1.0.sif')).size).toBe(7);
    for (const look of looks) expect(look).not.toHaveBeenCalled();
    expect((await stat(filesystem, '/lab/demo/image8:1.0.sif')).size).toBe(8);
    for (const look of looks) expect(look).toHaveBeenCalledTimes(1);
  });

  test('a second stat shows the image as it is now', async () => {
    const { filesystem, base } = await build(20);
    expect((await list(filesystem, '/lab/demo')).get('image7:1.0.sif')).toBe(7);
    await writeFile(join(base, 'demo/new'), Buffer.alloc(4711));
    await rename(join(base, 'demo/new'), join(base, 'demo/image7:1.0.sif'));
    expect((await stat(filesystem, '/lab/demo/image7:1.0.sif')).size).toBe(4711);
  });

  test('what is written, removed or open through the mount is not shown as it was listed', async () => {
    const small = await image('small-gzip.sif');
    const { filesystem, base } = await build(20);
    const [first, second, third] = ['image1', 'image2', 'image3'].map(
      (name) => `/lab/demo/${name}:1.0.sif`,
    ) as [string, string, string];
    const lookAhead = async () => {
      await filesystem.readdir('/lab/demo');
      for (const number of [10, 11]) await stat(filesystem, `/lab/demo/image${number}:1.0.sif`);
      await sleep(50);
    };
    await lookAhead();
    const handle = await filesystem.open(first, constants.O_WRONLY);
    await filesystem.ftruncate(handle, 0);
    expect((await stat(filesystem, first)).size).toBe(0);
    await filesystem.write(handle, small, 0, small.length);
    await filesystem.flush(handle);
    await filesystem.release(handle);
    expect((await stat(filesystem, first)).size).toBe(small.length);

    await lookAhead();
    const reading = await filesystem.open(second, constants.O_RDONLY);
    await writeFile(join(base, 'demo/new'), small);
    await rename(join(base, 'demo/new'), join(base, 'demo/image2:1.0.sif'));
    expect((await stat(filesystem, second)).size).toBe(2);
    await filesystem.release(reading);
    expect((await stat(filesystem, second)).size).not.toBe(3);

    await lookAhead();
    await filesystem.getattr(third);
    expect(await errnoOfCall(filesystem.unlink(third))).not.toBeUndefined();
    expect((await stat(filesystem, third)).size).toBe(3);
  });

  test('what opendir read serves one readdir', async () => {
    const { filesystem, backend } = await build(3);
    const listing = vi.spyOn(backend, 'list');
    await filesystem.opendir('/lab/demo');
    expect(await filesystem.readdir('/lab/demo')).toHaveLength(3);
    expect(listing).toHaveBeenCalledTimes(1);
    await copyIn(filesystem, '/lab/demo/new:1.sif', await image('small-gzip.sif'));
    expect(await filesystem.readdir('/lab/demo')).toHaveLength(4);
    expect(listing).toHaveBeenCalledTimes(2);
  });
});

describe('a service that lists only names', () => {
  const COUNT = 100;
  const names = Array.from({ length: COUNT }, (_, number) => `image${number}`);

  /** A service whose answers wait until all that is asked for was asked for. */
  const openSlow = async () => {
    const { filesystem, session } = await openWorld({ lab: { driver: 'oci', base: 'http://127.0.0.1:9' } });
    const backend = await session.backend('lab');
    const nameOf = (name: string) => ({ collection: 'demo', image: name, tag: '1.0' });
    vi.spyOn(backend, 'list').mockImplementation(async function* () {
      for (const name of names) yield { kind: 'image', name: nameOf(name) };
    });
    let [asked, most] = [0, 0];
    const resolve = vi.spyOn(backend, 'resolve').mockImplementation(async (name) => {
      asked += 1;
      most = Math.max(most, asked);
      await sleep(5);
      asked -= 1;
      return { name, size: Number(name.image.slice(5)), revision: name.image, handle: {} };
    });
    return { filesystem, session, resolve, most: () => most };
  };

  test('`ls -l` asks for several images at a time, and for each once', async () => {
    const { filesystem, resolve, most } = await openSlow();
    const sizes = await list(filesystem, '/lab/demo');
    expect([...sizes.values()]).toEqual(names.map((_, number) => number));
    expect(resolve).toHaveBeenCalledTimes(COUNT);
    expect(most()).toBeGreaterThan(8);
    expect(most()).toBeLessThan(20);
  });

  test('a service that counts what it is asked for is asked for what somebody looks at', async () => {
    const { filesystem, session, resolve, most } = await openSlow();
    Object.assign(await session.backend('lab'), { resolvesAhead: false });
    await filesystem.readdir('/lab/demo');
    for (const number of [0, 1, 2]) await stat(filesystem, `/lab/demo/image${number}:1.0.simg`);
    expect(resolve).toHaveBeenCalledTimes(3);
    expect(most()).toBe(1);
  });

  test('the end of a session ends the requests that nobody waits for', async () => {
    const { filesystem, resolve, session } = await openSlow();
    const signals: (AbortSignal | undefined)[] = [];
    resolve.mockImplementation(async (name, signal) => {
      if (['image0', 'image1'].includes(name.image))
        return { name, size: 1, revision: name.image, handle: {} };
      signals.push(signal);
      await once(signal as AbortSignal, 'abort');
      throw signal?.reason;
    });
    await filesystem.readdir('/lab/demo');
    for (const number of [0, 1]) await stat(filesystem, `/lab/demo/image${number}:1.0.simg`);
    await vi.waitFor(() => expect(signals.length).toBeGreaterThan(8));
    await session.metadata.close();
    expect(signals.every((signal) => signal?.aborted)).toBe(true);
  });

  test('one stat after `ls`, or some here and there, ask for those images alone', async () => {
    const { filesystem, resolve } = await openSlow();
    await filesystem.readdir('/lab/demo');
    for (const number of [7, 50, 3]) await stat(filesystem, `/lab/demo/image${number}:1.0.simg`);
    expect(resolve).toHaveBeenCalledTimes(3);
  });
});

needs({ s3: true })('a service', () => {
  const COUNT = 40;

  test('`ls -l` of a folder of a service is one listing, whether its images are cached or not', async () => {
    const s3 = await startS3();
    onTestFinished(() => s3.stop());
    const proxy = await startFaultProxy(s3.url);
    onTestFinished(() => proxy.close());
    const bucket = await s3.createBucket();
    const lab = { lab: { driver: 's3', base: proxy.url, bucket, ...s3.login } };
    const file = { path: join(await temporaryFolder(), 'image.sif'), size: 5000 };
    await writeFile(file.path, Buffer.alloc(file.size, 'x'));
    const publisher = await openWorld(lab);
    const backend = await publisher.session.backend('lab');
    const names = Array.from({ length: COUNT }, (_, number) => `image${number}`);
    const push = (name: string) => backend.push?.(file, { collection: 'demo', image: name, tag: '1.0' });
    await pMap(names, push, { concurrency: 8 });
    await publisher.stop();

    const { filesystem, session, home, stop } = await openWorld(lab);
    const requests = async (act: () => Promise<unknown>) => {
      const before = proxy.requests.length;
      await act();
      // The driver asks once whether the bucket keeps versions.
      const others = proxy.requests.slice(before).filter(({ url }) => !url.endsWith('?versioning='));
      return others.map(({ method, url }) => `${method} ${new URL(url, s3.url).searchParams.get('prefix')}`);
    };
    const statements = [
      vi.spyOn(session.state.remotes, 'get'),
      vi.spyOn(session.state.cacheIndex.entries, 'get'),
      vi.spyOn(session.state.cacheIndex.entries, 'list'),
    ];
    const count = () => statements.reduce((sum, { mock }) => sum + mock.calls.length, 0);
    let sizes = new Map<string, number>();
    expect(
      await requests(async () => {
        sizes = await list(filesystem, '/lab/demo');
      }),
    ).toEqual(['GET demo/']);
    expect([...sizes.values()]).toEqual(Array(COUNT).fill(file.size));
    expect(count()).toBeLessThan(COUNT / 2);

    const path = '/lab/demo/image7:1.0.sif';
    await readFileAt(filesystem, path);
    const blocks = Math.ceil(file.size / 512);
    expect((await stat(filesystem, path)).blocks).toBe(blocks);
    await stop();
    // Another process, later: only the cache and the catalog know of the read.
    const next = await openWorld(lab, { home, session: { ttl: '0.001s' } });
    next.session.metadata.listings.expire(await next.session.backend('lab'), 'demo');
    await list(next.filesystem, '/lab/demo');
    expect((await stat(next.filesystem, path)).blocks).toBe(blocks);
  });
});
