/** The filesystem over a real registry, in-process. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { constants as flags, readFileSync } from 'node:fs';
import { cp } from 'node:fs/promises';
import { createServer } from 'node:net';
import { constants as os } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { hostPlatform } from '../../src/base/platform.ts';
import { inspect } from '../../src/client/inspect.ts';
import { search, summarize } from '../../src/client/search.ts';
import type { Filesystem } from '../../src/fs/filesystem.ts';
import { needs } from '../helpers/skip.ts';
import { startRegistry, type TestRegistry } from '../servers/docker-registry.ts';
import { answer, startFaultProxy } from '../servers/fault-proxy.ts';
import { digestOf, type Layer, layerOf, pushLayered, tarOf } from '../servers/layered.ts';
import { copyIn, errnoOfCall, fixture, image, openWorld, readFileAt, temporaryFolder } from './support.ts';

const { EEXIST, EHOSTUNREACH, ENOENT, ESTALE, ETIMEDOUT } = os.errno;
const { O_CREAT, O_EXCL, O_RDONLY, O_WRONLY } = flags;
const ARCH = hostPlatform().architecture;
/** "Wrong medium type", Linux's own. */
const EMEDIUMTYPE = 124;

/** What Apptainer says of the small image. */
const RECORDED = JSON.parse(readFileSync(fixture('small-gzip.inspect.json'), 'utf8'));

let registry: TestRegistry;
let small: Buffer;

const lab = () => ({ lab: { driver: 'oci', base: registry.url } });

/** The registry, started anew with this storage. */
async function restarted(dir: string): Promise<TestRegistry> {
  await registry.remove();
  return startRegistry({ dir });
}

/** An attribute that is JSON. */
async function attribute(filesystem: Filesystem, path: string, name: string): Promise<unknown> {
  return JSON.parse(String(await filesystem.getxattr(path, `user.sregistry.${name}`)));
}

/** A new world after the image was published by another, so that nothing is cached. */
async function published(name: string) {
  const publisher = await openWorld(lab());
  await publisher.filesystem.mkdir('/lab/demo');
  await copyIn(publisher.filesystem, `/lab/demo/${name}`, small);
  await publisher.stop();
  return openWorld(lab());
}

needs({ registry: true })('over a registry', () => {
  beforeEach(async () => {
    registry = await startRegistry();
    small = await image('small-gzip.sif');
  });
  afterEach(() => registry.remove());

  test('`ls` shows what the registry lists.', async () => {
    const { filesystem } = await published('small:1.0.simg');
    expect(await filesystem.readdir('/lab')).toEqual(['demo']);
    expect(await filesystem.readdir('/lab/demo')).toEqual(['small:1.0.simg']);
  });

  test('Looking up an image asks for that image and for nothing else.', async () => {
    const dir = await temporaryFolder();
    const path = '/lab/demo/team/small:1.0.simg';
    registry = await restarted(dir);
    const publisher = await openWorld(lab());
    await copyIn(publisher.filesystem, path, small);
    await publisher.stop();
    const repositories = join(dir, 'docker/registry/v2/repositories/demo');
    for (let number = 0; number < 300; number += 1)
      await cp(join(repositories, 'team/small'), join(repositories, `other${number % 20}/image${number}`), {
        recursive: true,
      });
    registry = await restarted(dir);
    for (const readOnly of [true, false]) {
      const before = registry.log().length;
      const { filesystem } = await openWorld(lab(), { readOnly });
      // What the kernel does: it looks up one folder after the other.
      for (const folder of ['/lab', '/lab/demo', '/lab/demo/team']) await filesystem.getattr(folder);
      expect((await filesystem.getattr(path)).size).toBe(small.length);
      const handle = await filesystem.open(path, O_RDONLY);
      const start = Buffer.alloc(4096);
      await filesystem.read(handle, start, 0, start.length);
      expect(start.equals(small.subarray(0, 4096))).toBe(true);
      await filesystem.release(handle);
      const requests = () =>
        registry
          .log()
          .slice(before)
          .map(({ method, path: what }) => `${method} ${what.replace(/sha256:.*/, '')}`);
      const wanted = ['GET /v2/demo/team/small/manifests/1.0', 'GET /v2/demo/team/small/blobs/'];
      // The tables of its file system are fetched as well, as soon as the header has told where they lie.
      await vi.waitFor(() => expect([...new Set(requests())]).toEqual(wanted));
      expect(requests().length).toBeLessThanOrEqual(wanted.length + 1);
      // Nothing of the registry is missing either, for whoever lists it.
      expect((await filesystem.readdir('/lab/demo')).length).toBe(21);
      expect(await errnoOfCall(filesystem.readdir('/lab/demo/none'))).toBe(ENOENT);
      await vi.waitFor(() => expect(requests().join()).toContain('/_catalog'));
    }
  });

  test('A tag that does not hold an image is listed with mode 0000, and opening it gives EMEDIUMTYPE.', async () => {
    await putChart('demo/app', '2.0');
    const { filesystem } = await openWorld(lab());
    expect(await filesystem.readdir('/lab/demo')).toEqual(['app:2.0.simg']);
    expect((await filesystem.getattr('/lab/demo/app:2.0.simg')).mode & 0o777).toBe(0);
    const opening = filesystem.open('/lab/demo/app:2.0.simg', 0);
    expect(await errnoOfCall(opening)).toBe(EMEDIUMTYPE);
    await expect(opening).rejects.toThrow('not a Singularity image but application/vnd.cncf.helm.config');
  });

  test('an image in layers tells the same in its attribute, the file beside it and inspect, without any layer', async () => {
    const layers = [layerOf(tarOf([{ path: 'app', data: 'app' }]))];
    const config = { Env: ['A=1'], Entrypoint: ['/app'], Labels: { owner: 'lab' } };
    await pushLayered(registry.url, 'demo/app', '1', layers, config);
    const { filesystem, session, home } = await openWorld(lab());
    const path = '/lab/demo/app:1.simg';
    const told = async () => {
      const beside = JSON.parse((await readFileAt(filesystem, `${path}.json`)).toString());
      expect(await attribute(filesystem, path, 'inspect')).toEqual(beside);
      expect(JSON.parse(JSON.stringify(await inspect(session, 'lab://demo/app:1')))).toEqual(beside);
      expect(await attribute(filesystem, path, 'labels')).toEqual(beside.data.attributes.labels);
      return beside;
    };
    const first = await told();
    const [{ blob, diffId }] = layers as [Layer];
    expect(first).toMatchObject({
      estimated: true,
      architecture: ARCH,
      layers: [{ digest: digestOf(blob), size: blob.length, diffId }],
      modified: '2020-02-02T02:02:02.000Z',
      cached: 0,
      data: { attributes: { labels: { owner: 'lab', 'org.label-schema.build-arch': ARCH } } },
    });
    const { attributes } = first.data;
    expect(Object.keys(attributes).sort()).toEqual([
      'deffile',
      'environment',
      'labels',
      'runscript',
      'startscript',
    ]);
    expect(session.layers.fetchedBytes).toBe(0);

    const bytes = await readFileAt(filesystem, path);
    const { estimated, ...known } = await told();
    expect([estimated, known.size, known.cached > 0]).toEqual([undefined, bytes.length, true]);
    expect(known.data).toEqual(first.data);
    // Another process knows it as well, and search tells it.
    const other = await openWorld(lab(), { home });
    const sizes: number[] = [];
    await search(other.session, {
      query: 'app',
      backends: ['lab'],
      found: (image, backend) => sizes.push(summarize(other.session, image, backend).size),
    });
    expect(sizes).toEqual([bytes.length]);
  });

  test('of an image in layers that was opened before, `ls -l` shows the size also where a registry cannot list', async () => {
    await pushLayered(registry.url, 'demo/app', '1', [layerOf(tarOf([{ path: 'app', data: 'app' }]))]);
    const path = '/lab/demo/app:1.simg';
    const proxy = await startFaultProxy(registry.url);
    onTestFinished(() => proxy.close());
    const always = { times: Number.POSITIVE_INFINITY };
    proxy.inject(answer(404), { ...always, match: ({ url }) => /_catalog|tags\/list/.test(url ?? '') });
    const unlisted = { lab: { driver: 'oci', base: proxy.url } };
    const before = await openWorld(unlisted);
    const bytes = await readFileAt(before.filesystem, path);
    await before.stop();
    const after = await openWorld(unlisted, { home: before.home });
    expect(await after.filesystem.readdir('/lab/demo')).toEqual(['app:1.simg']);
    expect(after.filesystem.listedAttributes(path)?.size).toBe(bytes.length);
  });

  test('The modification time is the revision’s.', async () => {
    const { filesystem, session } = await published('small:1.0.simg');
    const { mtime } = await filesystem.getattr('/lab/demo/small:1.0.simg');
    const backend = await session.backend('lab');
    const remote = await backend.resolve({ collection: 'demo', image: 'small', tag: '1.0' });
    const second = (time: Date | undefined) => Math.floor(Number(time) / 1000);
    expect(second(mtime)).toBe(second(remote?.modified));
    expect(mtime.getTime()).toBeLessThan(Date.now());
  });

  test('A read fetches what it needs, not the image.', async () => {
    const { filesystem, session } = await published('small:1.0.simg');
    const handle = await filesystem.open('/lab/demo/small:1.0.simg', 0);
    const part = Buffer.alloc(4096);
    await filesystem.read(handle, part, 1_000_000, part.length);
    expect(part.equals(small.subarray(1_000_000, 1_004_096))).toBe(true);
    expect(session.cache.fetchedBytes).toBeLessThan(small.length / 4);
    await filesystem.release(handle);
  });

  test('The same bytes are fetched once, whoever asks.', async () => {
    const { filesystem, session } = await published('small:1.0.simg');
    const reads = Array.from({ length: 16 }, () => readFileAt(filesystem, '/lab/demo/small:1.0.simg'));
    for (const bytes of await Promise.all(reads)) expect(bytes.equals(small)).toBe(true);
    expect(session.cache.fetchedBytes).toBe(small.length);
    const blobs = () =>
      registry.log().filter(({ path, status }) => path.includes('/blobs/') && status === 206);
    await vi.waitFor(() => expect(blobs().reduce((sum, { bytes }) => sum + bytes, 0)).toBe(small.length), {
      timeout: 30_000,
    });
  });

  test('A service that cannot be reached is an error, never an empty or missing image.', async () => {
    const { filesystem } = await published('small:1.0.simg');
    await registry.stop();
    expect(await errnoOfCall(filesystem.readdir('/lab/demo'))).toBe(EHOSTUNREACH);
    expect(await errnoOfCall(filesystem.open('/lab/demo/small:1.0.simg', 0))).toBe(EHOSTUNREACH);
    expect((await filesystem.getattr('/lab/demo/small:1.0.simg')).mode & 0o777).toBe(0o200);
    const { filesystem: readOnly } = await openWorld(lab(), { readOnly: true });
    expect(await errnoOfCall(readOnly.getattr('/lab/demo/small:1.0.simg'))).toBe(EHOSTUNREACH);
  });

  test('A name that was never seen is written anew, not in place, even when its service answers again.', async () => {
    const { filesystem, session } = await published('small:1.0.simg');
    const names = ['small:1.0.simg', 'new:1.0.simg'].map((name) => `/lab/demo/${name}`) as [string, string];
    await registry.stop();
    const page = Buffer.from(small.subarray(0, 4096));
    const update = async (handle: number) => {
      await filesystem.write(handle, page, 0, page.length);
      return 0;
    };
    const [present, absent] = await Promise.all(names.map((name) => filesystem.open(name, O_WRONLY)));
    expect(await errnoOfCall(update(present as number))).toBe(EHOSTUNREACH);
    expect((await filesystem.getattr(names[0])).mode & 0o777).toBe(0o200);
    expect(await errnoOfCall(filesystem.open(names[0], O_RDONLY))).toBe(ESTALE);
    await registry.restart();
    expect(await errnoOfCall(update(present as number))).toBe(ESTALE);
    expect(await update(absent as number)).toBe(0);
    await filesystem.flush(present as number);
    await filesystem.release(present as number);
    expect((await readFileAt(filesystem, names[0])).equals(small)).toBe(true);
    await filesystem.release(absent as number);
    expect(session.state.journal.list()).toMatchObject([{ state: 'incomplete', path: 'demo/new:1.0.simg' }]);
  });

  test('a name that was never seen may exist, so it is not made exclusively, and nothing is left of the attempt', async () => {
    const { filesystem } = await published('small:1.0.simg');
    const path = '/lab/demo/small:1.0.simg';
    await registry.stop();
    expect(await errnoOfCall(filesystem.open(path, O_WRONLY | O_CREAT | O_EXCL))).toBe(EEXIST);
    await registry.restart();
    // That it was away is remembered for a while.
    await vi.waitFor(
      async () => expect((await readFileAt(filesystem, path)).equals(small)).toBe(true),
      20_000,
    );
  });

  test('a name that was never seen can be truncated and written while its service is away', async () => {
    const { filesystem, session } = await published('small:1.0.simg');
    const path = '/lab/demo/small:1.0.simg';
    await registry.stop();
    const handle = await filesystem.open(path, O_WRONLY);
    await filesystem.truncate(path, 0);
    await filesystem.write(handle, small, 0, small.length);
    expect(await errnoOfCall(filesystem.flush(handle))).toBe(EHOSTUNREACH);
    await filesystem.release(handle);
    expect(session.state.journal.list()).toMatchObject([{ state: 'kept', uri: 'lab://demo/small:1.0' }]);
  });

  test('an image that is cached goes on working when its service is away', async () => {
    const { filesystem, session } = await published('small:1.0.simg');
    await filesystem.readdir('/lab');
    await readFileAt(filesystem, '/lab/demo/small:1.0.simg');
    await registry.stop();
    session.metadata.listings.expire(await session.backend('lab'), 'demo');
    expect((await readFileAt(filesystem, '/lab/demo/small:1.0.simg')).equals(small)).toBe(true);
    expect(await filesystem.readdir('/lab')).toEqual(['demo']);
  });

  test('a folder with files that wait for their push is there while its service is away', async () => {
    const { filesystem } = await openWorld(lab());
    await registry.stop();
    expect(await errnoOfCall(copyIn(filesystem, '/lab/new/kept:1.0.simg', small))).toBe(EHOSTUNREACH);
    expect((await filesystem.getattr('/lab/new')).mode & 0o777).toBe(0o755);
    expect(await errnoOfCall(filesystem.readdir('/lab/other'))).toBe(EHOSTUNREACH);
    expect(await errnoOfCall(filesystem.getattr('/lab/other.part'))).toBe(EHOSTUNREACH);
  });

  test('a push to a service that is away is kept, and done by the next who restores the journal', async () => {
    const { filesystem, session, home, stop } = await published('small:1.0.simg');
    await filesystem.readdir('/lab/demo');
    await registry.stop();
    expect(await errnoOfCall(copyIn(filesystem, '/lab/demo/kept:1.0.simg', small))).toBe(EHOSTUNREACH);
    expect(session.state.journal.list()).toMatchObject([{ state: 'kept', uri: 'lab://demo/kept:1.0' }]);
    expect((await readFileAt(filesystem, '/lab/demo/kept:1.0.simg')).equals(small)).toBe(true);
    await stop();
    await registry.restart();
    const next = await openWorld(lab(), { home });
    await next.staging.restore(['lab']);
    await next.staging.idle();
    expect(next.session.state.journal.list()).toEqual([]);
    expect((await readFileAt(next.filesystem, '/lab/demo/kept:1.0.simg')).equals(small)).toBe(true);
  });

  test('labels, inspect and <image>.json are told from what was pushed, without a byte of the image', async () => {
    const { filesystem, session } = await published('small:1.0.simg');
    const path = '/lab/demo/small:1.0.simg';
    expect(await attribute(filesystem, path, 'labels')).toEqual(RECORDED.data.attributes.labels);
    const inspected = await attribute(filesystem, path, 'inspect');
    expect(inspected).toMatchObject({ uri: 'lab://demo/small:1.0', size: small.length, ...RECORDED });
    const beside = JSON.parse((await readFileAt(filesystem, `${path}.json`)).toString());
    expect(beside).toEqual(inspected);
    expect(await filesystem.readdir('/lab/demo')).toEqual(['small:1.0.simg']);
    expect(session.cache.fetchedBytes).toBe(0);
  });

  test('labels, inspect and <image>.json of an image that was pushed without them are read from its first bytes', async () => {
    const { filesystem, session } = await openWorld(lab());
    const backend = await session.backend('lab');
    const file = { path: fixture('small-gzip.sif'), size: small.length };
    await backend.push?.(file, { collection: 'demo', image: 'bare', tag: '1.0' });
    const path = '/lab/demo/bare:1.0.simg';
    expect(await attribute(filesystem, path, 'labels')).toEqual(RECORDED.data.attributes.labels);
    expect(await attribute(filesystem, path, 'inspect')).toMatchObject(RECORDED);
    expect(JSON.parse((await readFileAt(filesystem, `${path}.json`)).toString())).toMatchObject(RECORDED);
    expect(session.cache.fetchedBytes).toBeLessThanOrEqual(256 * 1024);
  });

  test('what is pushed is read back from the cache, without a request for its bytes', async () => {
    const { filesystem, session } = await openWorld(lab());
    await filesystem.mkdir('/lab/demo');
    await copyIn(filesystem, '/lab/demo/small:1.0.simg', small);
    expect((await readFileAt(filesystem, '/lab/demo/small:1.0.simg')).equals(small)).toBe(true);
    expect(session.cache.fetchedBytes).toBe(0);
  });
});

describe('a service that does not answer', () => {
  test('Every operation ends.', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const sockets = new Set<{ destroy(): void }>();
    server.on('connection', (socket) => sockets.add(socket));
    onTestFinished(() => {
      for (const socket of sockets) socket.destroy();
      server.close();
    });
    const { port } = server.address() as { port: number };
    const base = await temporaryFolder();
    const { filesystem } = await openWorld(
      { slow: { driver: 'oci', base: `http://127.0.0.1:${port}` }, fast: { driver: 'dir', base } },
      { deadline: 300 },
    );
    const path = '/slow/demo/image:1.simg';
    const calls = [
      filesystem.getattr(path),
      filesystem.getattr('/slow/demo.part'),
      filesystem.readdir('/slow'),
      filesystem.open(path, 0),
      filesystem.getxattr(path, 'user.sregistry.digest'),
    ].map(errnoOfCall);
    // No other file waits for it.
    expect(await filesystem.readdir('/fast')).toEqual([]);
    for (const errno of await Promise.all(calls)) expect(errno).toBe(ETIMEDOUT);
  });
});

test('An operation has one deadline, however many questions it asks.', async () => {
  const deadline = 47_110;
  const base = await temporaryFolder();
  const { filesystem } = await openWorld({ lab: { driver: 'dir', base } }, { deadline });
  await copyIn(filesystem, '/lab/demo/image:1.sif', await image('small-gzip.sif'));
  const timeout = vi.spyOn(AbortSignal, 'timeout');
  onTestFinished(() => timeout.mockRestore());
  const begun = () => timeout.mock.calls.filter(([milliseconds]) => milliseconds === deadline).length;
  for (const operation of [
    () => filesystem.getattr('/lab/demo/image:1.sif'),
    () => filesystem.getattr('/lab/demo/image:1.sif.json'),
    () => filesystem.readdir('/lab/demo'),
    () => filesystem.getxattr('/lab/demo/image:1.sif', 'user.sregistry.inspect'),
    () => filesystem.open('/lab/demo/image:1.sif.json', 0),
    () => filesystem.open('/lab/demo/image:1.sif', 2),
    () => filesystem.rename('/lab/demo/image:1.sif', '/lab/demo/other:1.sif'),
  ]) {
    const before = begun();
    await errnoOfCall(operation());
    expect(begun() - before, String(operation)).toBeLessThanOrEqual(1);
  }
});

/** Puts what `helm push` makes: a configuration and a layer, which are of no image. */
async function putChart(repository: string, tag: string): Promise<void> {
  const config = await putBlob(repository, '{"name":"app","version":"2.0"}');
  const layer = await putBlob(repository, 'not really a chart');
  const manifest = {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: { mediaType: 'application/vnd.cncf.helm.config.v1+json', ...config },
    layers: [{ mediaType: 'application/vnd.cncf.helm.chart.content.v1.tar+gzip', ...layer }],
  };
  const reply = await fetch(`${registry.url}/v2/${repository}/manifests/${tag}`, {
    method: 'PUT',
    headers: { 'content-type': manifest.mediaType },
    body: JSON.stringify(manifest),
  });
  expect(reply.status).toBe(201);
}

async function putBlob(repository: string, text: string): Promise<{ digest: string; size: number }> {
  const digest = `sha256:${createHash('sha256').update(text).digest('hex')}`;
  const start = await fetch(`${registry.url}/v2/${repository}/blobs/uploads/`, { method: 'POST' });
  const location = new URL(start.headers.get('location') as string, registry.url);
  location.searchParams.set('digest', digest);
  const reply = await fetch(location, { method: 'PUT', body: text });
  expect(reply.status).toBe(201);
  return { digest, size: text.length };
}
