/** Containers in layers: fetched from a real registry, kept as entries of a real cache. */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { prune, verify } from '../../src/client/cache.ts';
import { copy } from '../../src/client/copy.ts';
import { inspectRemote } from '../../src/client/inspect-remote.ts';
import { isLayered, type LayeredImage, type OpenLayered } from '../../src/client/layered-images.ts';
import { Session, type SessionOptions } from '../../src/client/session.ts';
import { findImage, parseTarget } from '../../src/client/target.ts';
import { inspect } from '../../src/image/inspect.ts';
import type { ByteSource } from '../../src/image/source.ts';
import { SquashFs } from '../../src/image/squashfs/filesystem.ts';
import { environment, temporaryFolder } from '../fs/support.ts';
import { material } from '../fuzz/gzip.ts';
import { random } from '../fuzz/run.ts';
import { needs } from '../helpers/skip.ts';
import { startRegistry, type TestRegistry } from '../servers/docker-registry.ts';
import { digestOf, type Layer, layerOf, pushIndex, pushLayered, tarOf } from '../servers/layered.ts';

const DATA = Buffer.alloc(700_000, 'what the base holds ');
const BASE = tarOf([
  { path: 'etc/', type: 'directory' },
  { path: 'etc/base', data: DATA },
  { path: 'etc/gone', data: 'gone' },
]);
const APP = tarOf([{ path: 'etc/.wh.gone' }, { path: 'app', data: 'app\n' }]);
const OTHER = tarOf([{ path: 'app', data: 'other\n' }]);

needs({ registry: true })('layers', () => {
  let home: string;
  let storage: string;
  let registry: TestRegistry;

  beforeEach(async () => {
    home = await temporaryFolder();
    storage = mkdtempSync(join(tmpdir(), 'sregistry-storage-'));
    await mkdir(join(home, 'folder'));
    registry = await startRegistry({ dir: storage });
    await writeFile(
      join(home, '.sregistry'),
      JSON.stringify({
        lab: { driver: 'oci', base: registry.url },
        arm: { driver: 'oci', base: registry.url, arch: 'arm64' },
        folder: { driver: 'dir', base: join(home, 'folder') },
      }),
      { mode: 0o600 },
    );
  });
  afterEach(async () => {
    await registry.remove();
    rmSync(storage, { recursive: true });
  });

  const session = async (options: SessionOptions = {}): Promise<Session> => {
    const opened = await Session.open({ env: environment(home), ...options });
    onTestFinished(() => opened.close());
    return opened;
  };
  const push = (tag: string, layers: readonly Layer[], config = {}, arch?: string) =>
    pushLayered(registry.url, 'demo/app', tag, layers, config, arch);
  const find = async (on: Session, uri: string) => {
    const target = await parseTarget(uri, on);
    const image = await findImage(on, target);
    return { backend: target.backend, image: on.layered.sized(image) };
  };
  const open = async (on: Session, uri: string): Promise<OpenLayered> => {
    const { backend, image } = await find(on, uri);
    if (!isLayered(image)) throw new Error(`${uri} is not in layers: ${image.unpresentable}`);
    return on.layered.open(backend, image, on.current(backend, image));
  };
  const fileIn = async (source: ByteSource, path: string) =>
    Buffer.from((await (await SquashFs.open(source)).readFile(path, 1e7)) ?? '').toString();
  /** How often the registry sent a blob. */
  const sent = (layer: Layer) =>
    registry
      .log()
      .filter(
        ({ method, path, status }) => method === 'GET' && status < 300 && path.endsWith(digestOf(layer.blob)),
      ).length;
  const dataOf = (hex: string) =>
    join(storage, 'docker/registry/v2/blobs/sha256', hex.slice(0, 2), hex, 'data');

  test.each(['gzip', 'zstd', 'none'] as const)('an image of layers as %s is opened', async (compression) => {
    await push(
      '1',
      [BASE, APP].map((tar) => layerOf(tar, compression)),
    );
    const on = await session();
    await using image = await open(on, 'lab://demo/app:1');
    expect(await fileIn(image, '/etc/base')).toBe(DATA.toString());
    expect(await fileIn(image, '/app')).toBe('app\n');
    expect(await fileIn(image, '/etc/gone')).toBe('');
  });

  test('the bytes of an image are the same however its layers are compressed, and on every machine', async () => {
    const half = (tar: Buffer) => [tar.subarray(0, 5000), tar.subarray(5000)];
    const members = { ...layerOf(BASE), blob: Buffer.concat(half(BASE).map((part) => gzipSync(part))) };
    const frames = {
      ...layerOf(APP, 'zstd'),
      blob: Buffer.concat([APP.subarray(0, 600), APP.subarray(600)].map((part) => zstdCompressSync(part))),
    };
    await push('plain', [layerOf(BASE, 'none'), layerOf(APP, 'none')], {}, 'amd64');
    await push('parts', [members, frames], {}, 'amd64');
    const on = await session({ arch: 'amd64' });
    const bytes = async (tag: string) => {
      await using image = await open(on, `lab://demo/app:${tag}`);
      return digestOf(Buffer.from(await image.read(0, image.size)));
    };
    const plain = await bytes('plain');
    prune(on);
    expect(await bytes('parts')).toBe(plain);
    expect(plain).toBe('sha256:a1b377795184004fdd6ce8f0e8e536b25c6aeb79ccfe574f6dbb1f344e2c67b3');
  });

  test('two images on one base fetch and store the base once, however many open them at a time', async () => {
    const [base, app, other] = [BASE, APP, OTHER].map((tar) => layerOf(tar)) as [Layer, Layer, Layer];
    await push('one', [base, app]);
    await push('two', [base, other]);
    const [first, second] = [await session(), await session()];
    const opened = await Promise.all(
      ['one', 'two', 'one'].flatMap((tag) => [first, second].map((on) => open(on, `lab://demo/app:${tag}`))),
    );
    expect(await fileIn(opened[2] as OpenLayered, '/app')).toBe('other\n');
    for (const image of opened) expect(await fileIn(image, '/etc/base')).toBe(DATA.toString());
    for (const image of opened) await image[Symbol.asyncDispose]();
    await expect.poll(() => [base, app, other].map(sent)).toEqual([1, 1, 1]);
    expect(first.cache.list().map(({ size, complete }) => [size, complete])).toEqual(
      expect.arrayContaining([BASE, APP, OTHER].map(({ length }) => [length, 1])),
    );
    expect(first.cache.list()).toHaveLength(3);
    expect(readdirSync(join(first.cache.root, 'incoming'))).toEqual([]);
  });

  test('the size is an estimate until the first open, and known to later sessions', async () => {
    await push('1', [layerOf(BASE), layerOf(APP)]);
    let size = 0;
    {
      await using on = await Session.open({ env: environment(home) });
      await using image = await open(on, 'lab://demo/app:1');
      size = image.size;
      expect(image.image.size).toBe(size);
    }
    const { image } = await find(await session(), 'lab://demo/app:1');
    expect(image.size).toBe(size);
    expect(image.modified).toEqual(new Date('2020-02-02T02:02:02Z'));
  });

  test('an image that was opened before is read by its kept tables, unless they are damaged or over other layers', async () => {
    const layers = [layerOf(BASE), layerOf(APP)];
    await push('1', layers);
    await push('labelled', layers, { Labels: { owner: 'lab' } });
    await push('other', [layerOf(OTHER)]);
    const tables = new Map<string, Buffer>();
    {
      await using on = await Session.open({ env: environment(home) });
      for (const tag of ['1', 'labelled', 'other']) {
        await using image = await open(on, `lab://demo/app:${tag}`);
        tables.set(tag, Buffer.from(on.state.layers.imageOf(image.image.revision) as Uint8Array));
      }
    }
    const on = await session();
    on.state.db.prepare('DELETE FROM layer_entries').run();
    const read = async (kept?: Buffer) => {
      const { revision } = (await find(on, 'lab://demo/app:1')).image as { revision: string };
      if (kept !== undefined) on.state.layers.putImage(revision, 1, kept);
      await using image = await open(on, 'lab://demo/app:1');
      expect(await fileIn(image, '/etc/base')).toBe(DATA.toString());
      return await fileIn(image, '/.singularity.d/labels.json');
    };
    const own = await read();
    expect(own).not.toContain('owner');
    const labelled = tables.get('labelled') as Buffer;
    expect(await read(labelled)).toContain('"owner": "lab"');
    expect(await read(tables.get('other'))).toBe(own);
    expect(await read(labelled.fill(0, 20))).toBe(own);
  });

  test('a layer that grows a hundred times gets room as it grows, and is an error where the cache has none', async () => {
    const zeros = tarOf([{ path: 'zeros', data: Buffer.alloc(40_000_000) }]);
    await push('1', [layerOf(zeros)]);
    {
      await using on = await Session.open({ env: environment(home), cacheSize: '20MB' });
      await expect(open(on, 'lab://demo/app:1')).rejects.toMatchObject({ code: 'NO_SPACE' });
      await expect.poll(() => readdirSync(join(on.cache.root, 'incoming'))).toEqual([]);
    }
    await using image = await open(await session(), 'lab://demo/app:1');
    expect(image.size).toBeGreaterThan(40_000_000);
  });

  test('an open that is given up ends its fetch, and leaves nothing', async () => {
    const big = tarOf([{ path: 'big', data: randomBytes(30_000_000) }]);
    await push('1', [layerOf(big, 'none')]);
    const on = await session();
    const { backend, image } = await find(on, 'lab://demo/app:1');
    if (!isLayered(image)) throw new Error('not in layers');
    const aborter = new AbortController();
    const progress = () => aborter.abort(new Error('enough'));
    const options = { signal: aborter.signal, progress };
    await expect(on.layered.open(backend, image, on.current(backend, image), options)).rejects.toThrow();
    await expect.poll(() => readdirSync(join(on.cache.root, 'incoming'))).toEqual([]);
    expect([on.layers.transfers, on.cache.list()]).toEqual([[], []]);
    await using again = await open(on, 'lab://demo/app:1');
    expect(again.size).toBeGreaterThan(30_000_000);
  });

  test('a layer that was evicted is fetched again', async () => {
    const [base, app] = [layerOf(BASE), layerOf(APP)];
    await push('1', [base, app]);
    const on = await session();
    {
      await using held = await open(on, 'lab://demo/app:1');
      expect(prune(on).layers).toBe(0);
      expect(await fileIn(held, '/app')).toBe('app\n');
    }
    expect(prune(on)).toMatchObject({ images: 0, layers: 2 });
    await using again = await open(on, 'lab://demo/app:1');
    expect(await fileIn(again, '/etc/base')).toBe(DATA.toString());
    await expect.poll(() => [base, app].map(sent)).toEqual([2, 2]);
  });

  describe('a large layer that was evicted', () => {
    /** Text that compresses to a third, so that a few spans are a few MiB of the blob. */
    const noise = material(24 * 1024 * 1024, random(1));
    const parts = [0, 1, 2, 3, 4, 5].map((i) =>
      noise.subarray(i * 4 * 1024 * 1024, (i + 1) * 4 * 1024 * 1024),
    );
    const files = parts.map((data, i) => ({ path: `part${i}`, data }));
    const large = tarOf(files.toSpliced(3, 0, { path: 'small', data: Buffer.from('small') }));
    const rest = gzipSync(large.subarray(10_000_000));
    const blobs: [string, Layer][] = [
      ['gzip', layerOf(large)],
      [
        'members',
        { ...layerOf(large), blob: Buffer.concat([gzipSync(large.subarray(0, 10_000_000)), rest]) },
      ],
      ['none', layerOf(large, 'none')],
    ];
    /** Bytes that the registry sent of a blob. */
    const bytesOf = (on: Session, work: () => Promise<unknown>) => {
      const before = on.layers.fetchedBytes;
      return work().then(() => on.layers.fetchedBytes - before);
    };
    const read = async (image: ByteSource, path: string) =>
      Buffer.from((await (await SquashFs.open(image)).readFile(path, 1e7)) ?? '');
    const openAndEvict = async (on: Session) => {
      await (await open(on, 'lab://demo/app:1'))[Symbol.asyncDispose]();
      await on.layers.settled();
      expect(prune(on).layers).toBe(1);
    };

    test.each(blobs)('is opened without a fetch, and read in parts (%s)', async (_, layer) => {
      await push('1', [layer]);
      {
        await using on = await Session.open({ env: environment(home) });
        await openAndEvict(on);
      }
      const on = await session();
      let image!: OpenLayered;
      expect(await bytesOf(on, async () => (image = await open(on, 'lab://demo/app:1')))).toBe(0);
      await using _image = image;
      const small = await bytesOf(on, async () => {
        expect(String(await read(image, '/small'))).toBe('small');
      });
      expect(small).toBeGreaterThan(0);
      // At most two spans of six.
      expect(small).toBeLessThan(layer.blob.length * 0.4);
      expect((await read(image, '/part2')).equals(parts[2] as Buffer)).toBe(true);
      expect(on.layers.fetchedBytes).toBeLessThan(layer.blob.length);
      expect(
        on.layered.cachedBytes((await find(on, 'lab://demo/app:1')).image as LayeredImage),
      ).toBeGreaterThan(0);
      const all = Buffer.concat(await Promise.all(parts.map((_, i) => read(image, `/part${i}`))));
      expect(all.equals(noise)).toBe(true);
      // Whole by now, it was compared with its digest, and the next opening is as after a fetch.
      expect(on.cache.list().map(({ complete }) => complete)).toEqual([1]);
      expect(on.layers.fetchedBytes).toBeLessThan(layer.blob.length * 1.5);
    });

    test('gives no wrong byte, and is fetched whole again after its registry sent other bytes', async () => {
      const [, layer] = blobs[0] as [string, Layer];
      await push('1', [layer]);
      const on = await session();
      await openAndEvict(on);
      const path = dataOf(digestOf(layer.blob).slice(7));
      const right = readFileSync(path);
      const wrong = Buffer.from(right);
      for (let at = 0; at < wrong.length; at += 1000) wrong[at] = (wrong[at] as number) ^ 0x40;
      writeFileSync(path, wrong);
      {
        await using image = await open(on, 'lab://demo/app:1');
        await expect(read(image, '/part3')).rejects.toMatchObject({ code: 'CORRUPT' });
      }
      await expect(open(on, 'lab://demo/app:1')).rejects.toMatchObject({ code: 'CORRUPT' });
      writeFileSync(path, right);
      await using again = await open(on, 'lab://demo/app:1');
      expect((await read(again, '/part3')).equals(parts[3] as Buffer)).toBe(true);
    });

    test('is fetched whole if its restart points are damaged or were removed', async () => {
      const [, layer] = blobs[0] as [string, Layer];
      await push('1', [layer]);
      const on = await session();
      await openAndEvict(on);
      const folder = join(on.cache.root, 'points');
      const [name = ''] = readdirSync(folder);
      writeFileSync(join(folder, name), readFileSync(join(folder, name)).fill(1, 200, 210));
      expect(await bytesOf(on, () => openAndEvict(on))).toBe(layer.blob.length);
      rmSync(folder, { recursive: true });
      expect(await bytesOf(on, () => openAndEvict(on))).toBe(layer.blob.length);
      // Both times, they were recorded anew.
      await using image = await open(on, 'lab://demo/app:1');
      expect(await bytesOf(on, () => read(image, '/small'))).toBeLessThan(layer.blob.length);
    });

    test('is what its image says, or an error: points of another image do not stand in', async () => {
      const [, layer] = blobs[0] as [string, Layer];
      await push('1', [layer]);
      const on = await session();
      await openAndEvict(on);
      await push('1', [{ ...layer, diffId: digestOf(APP) }]);
      const other = await session();
      await expect(open(other, 'lab://demo/app:1')).rejects.toMatchObject({ code: 'CORRUPT' });
    });

    test('has no points if it was not right', async () => {
      const [, layer] = blobs[0] as [string, Layer];
      await push('1', [{ ...layer, diffId: digestOf(APP) }]);
      const on = await session();
      await expect(open(on, 'lab://demo/app:1')).rejects.toMatchObject({ code: 'CORRUPT' });
      await on.layers.settled();
      expect(readdirSync(on.cache.root)).not.toContain('points');
    });

    test('leaves nothing behind when the session ends before its points are recorded', async () => {
      await push('1', [(blobs[0] as [string, Layer])[1]]);
      const on = await session();
      await (await open(on, 'lab://demo/app:1'))[Symbol.asyncDispose]();
      await on.close();
      expect(readdirSync(join(on.cache.root, 'incoming'))).toEqual([]);
    });
  });

  test('a stored layer that others changed is fetched again, and never read wrong', async () => {
    await push('1', [layerOf(BASE), layerOf(APP)]);
    const on = await session();
    await (await open(on, 'lab://demo/app:1'))[Symbol.asyncDispose]();
    for (const { key } of on.cache.list()) {
      const path = join(on.cache.root, 'images', key.slice(0, 2), key, 'data');
      writeFileSync(path, readFileSync(path).fill('x', 1000, 1100));
    }
    await using again = await open(on, 'lab://demo/app:1');
    expect(await fileIn(again, '/etc/base')).toBe(DATA.toString());
    expect(await fileIn(again, '/app')).toBe('app\n');
  });

  test('a blob without its digest is CORRUPT, and nothing of it is kept', async () => {
    const base = layerOf(BASE);
    await push('1', [base, layerOf(APP)]);
    const path = dataOf(digestOf(base.blob).slice(7));
    const right = readFileSync(path);
    const wrong = gzipSync(Buffer.from(BASE).fill('y', 1100, 1200), { level: 0 });
    for (const bytes of [wrong.subarray(0, right.length), Buffer.from(right).fill(7, 300, 400)]) {
      writeFileSync(path, Buffer.concat([bytes, Buffer.alloc(Math.max(0, right.length - bytes.length))]));
      const on = await session();
      await expect(open(on, 'lab://demo/app:1')).rejects.toMatchObject({
        code: 'CORRUPT',
      });
      expect(on.cache.list().every(({ size }) => size === APP.length)).toBe(true);
      await expect.poll(() => readdirSync(join(on.cache.root, 'incoming'))).toEqual([]);
    }
    writeFileSync(path, right);
    await using image = await open(await session(), 'lab://demo/app:1');
    expect(await fileIn(image, '/etc/base')).toBe(DATA.toString());
  });

  test('an archive without its diff id is CORRUPT', async () => {
    await push('1', [layerOf(APP), { ...layerOf(BASE), diffId: layerOf(OTHER).diffId }]);
    const on = await session();
    await expect(open(on, 'lab://demo/app:1')).rejects.toMatchObject({
      code: 'CORRUPT',
      message: expect.stringContaining('layer 2 of 2 was damaged'),
    });
    expect(on.cache.list().every(({ digest }) => digest === digestOf(APP))).toBe(true);
  });

  test('of an index, the image of this machine or of the option arch is shown', async () => {
    const images = {
      amd64: await push('amd64', [layerOf(APP)], {}, 'amd64'),
      arm64: await push('arm64', [layerOf(OTHER)], {}, 'arm64'),
    };
    await pushIndex(registry.url, 'demo/app', 'all', images);
    const on = await session();
    await using arm = await open(on, 'arm://demo/app:all');
    expect(await fileIn(arm, '/app')).toBe('other\n');
    if (process.arch !== 'x64') return;
    await using own = await open(on, 'lab://demo/app:all');
    expect(await fileIn(own, '/app')).toBe('app\n');
  });

  test('sessions for different architectures never share an answer, in one cache and at one time', async () => {
    const images = {
      amd64: await push('amd64', [layerOf(APP)], {}, 'amd64'),
      arm64: await push('arm64', [layerOf(OTHER)], {}, 'arm64'),
    };
    await pushIndex(registry.url, 'demo/app', 'all', images);
    const lab = async (on: Session) => {
      const backend = await on.backend('lab');
      const name = { collection: 'demo', image: 'app', tag: 'all' };
      return (await on.metadata.images.resolve(backend, name))?.layered?.architecture;
    };
    const all = { amd64: await session({ arch: 'x86_64' }), arm64: await session({ arch: 'aarch64' }) };
    expect([await lab(all.amd64), await lab(all.arm64), await lab(all.amd64)]).toEqual([
      'amd64',
      'arm64',
      'amd64',
    ]);
    // Later ones ask nobody, and find each their own answer.
    const offline = async (arch: string) => lab(await session({ arch, offline: true }));
    expect(await Promise.all(['arm64', 'amd64', 'riscv64'].map(offline))).toEqual([
      'arm64',
      'amd64',
      undefined,
    ]);
    // It wins over the option of the backend.
    await using image = await open(all.amd64, 'arm://demo/app:all');
    expect(await fileIn(image, '/app')).toBe('app\n');
  });

  test('an image for other machines only says which, and how to choose it', async () => {
    const arm64 = await push('arm', [layerOf(APP)], {}, 'arm64');
    await pushIndex(registry.url, 'demo/app', 'all', { arm64 });
    const on = await session({ arch: 'amd64' });
    for (const tag of ['arm', 'all']) {
      const { image } = await find(on, `lab://demo/app:${tag}`);
      expect([isLayered(image), image.unpresentable]).toEqual([
        false,
        'an image for linux/arm64, not for linux/amd64; choose one with --arch, such as --arch arm64',
      ]);
    }
    // A digest is a choice of its own.
    expect(isLayered((await find(on, `lab://demo/app:arm@${arm64.digest}`)).image)).toBe(true);
    expect(isLayered((await find(await session({ arch: 'arm64' }), 'lab://demo/app:arm')).image)).toBe(true);
  });

  test('what it says of itself comes from the configuration alone, and is what its image says', async () => {
    const config = { Env: ['A=1'], Entrypoint: ['/app'], Labels: { owner: 'lab' } };
    const app = layerOf(APP);
    await push('1', [app], config);
    const on = await session();
    const { backend, image } = await find(on, 'lab://demo/app:1');
    const told = await inspectRemote(on, backend, image);
    expect(told.data.attributes.labels).toMatchObject({ owner: 'lab' });
    expect(told.data.attributes.runscript).toContain('/app');
    expect(sent(app)).toBe(0);
    await using opened = await open(on, 'lab://demo/app:1');
    expect(await inspect(opened)).toEqual({ data: told.data, type: told.type });
  });

  test('a copy to another service is an image file, and one within the registry stays in layers', async () => {
    await push('1', [layerOf(BASE), layerOf(APP)]);
    const on = await session();
    const { image } = await copy(on, 'lab://demo/app:1', 'folder://demo/app:1');
    const [file = ''] = readdirSync(join(home, 'folder/demo'));
    const bytes = await readFile(join(home, 'folder/demo', file));
    expect(bytes.length).toBe(image.size);
    await using opened = await open(on, 'lab://demo/app:1');
    expect(bytes.equals(await opened.read(0, opened.size))).toBe(true);
    expect((await copy(on, 'lab://demo/app:1', 'lab://demo/other:2')).within).toBe(true);
    await using other = await open(on, 'lab://demo/other:2');
    expect(await fileIn(other, '/app')).toBe('app\n');
  });

  test('the layers are found right by a verification of the cache', async () => {
    await push('1', [layerOf(BASE), layerOf(APP)]);
    const on = await session();
    await (await open(on, 'lab://demo/app:1'))[Symbol.asyncDispose]();
    const results: string[] = [];
    for await (const { uri, result } of verify(on)) results.push(`${result} ${uri}`);
    expect(results.sort()).toEqual([BASE, APP].map((tar) => `right layer/${digestOf(tar)}`).sort());
  });
});
