import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Backend, RemoteImage, SearchQuery } from '../../src/backends/backend.ts';
import hub, { createHub } from '../../src/backends/hub/index.ts';
import { Session } from '../../src/client/session.ts';
import type { ImageName } from '../../src/image/name.ts';
import { needs } from '../helpers/skip.ts';
import { apptainer } from '../servers/apptainer.ts';
import { type FakeHub, type FakeHubOptions, startFakeHub } from '../servers/fake-hub.ts';

const SIF = join(import.meta.dirname, '../fixtures/images/small-gzip.sif');

let service: FakeHub;
let backend: Backend;

const HELLO: ImageName = { collection: 'vsoch', image: 'hello-world', tag: 'latest' };
const HELLO_NAME = 'vsoch/hello-world:latest';

async function start(options: FakeHubOptions = {}): Promise<void> {
  await end();
  service = await startFakeHub(options);
  backend = createHub({
    name: 'hub',
    options: { base: `${service.url}/api` },
    env: { SREGISTRY_TIMEOUT: '3' },
  });
}

async function end(): Promise<void> {
  await backend?.close?.();
  await service?.close();
}

async function resolve(name = HELLO): Promise<RemoteImage> {
  return (await backend.resolve(name)) as RemoteImage;
}

async function read(image: RemoteImage, offset = 0, length = image.size): Promise<Buffer> {
  return buffer(await backend.read(image, offset, length));
}

beforeEach(() => start());
afterEach(end);

describe('a file behind a redirect', () => {
  test('is read from storage in ranges, to which the API is asked for the way once', async () => {
    const bytes = randomBytes(300_000);
    service.put(HELLO_NAME, bytes);
    const image = await resolve();
    expect(image).toMatchObject({ size: 300_000, extension: 'simg' });
    const before = service.requests.length;
    for (const offset of [0, 100_000, 299_000])
      expect(await read(image, offset, 1000)).toEqual(bytes.subarray(offset, offset + 1000));
    expect(service.requests.length - before).toBe(1);
    expect(service.storage.requests.slice(-3).map(({ headers }) => headers.range)).toEqual([
      'bytes=0-999',
      'bytes=100000-100999',
      'bytes=299000-299999',
    ]);
  });

  test('is found again by a new manifest when its address has expired', async () => {
    const bytes = randomBytes(10_000);
    service.put(HELLO_NAME, bytes);
    const image = await resolve();
    service.expire();
    expect(await read(image)).toEqual(bytes);
    const before = service.requests.length;
    expect(await read(image, 10, 10)).toEqual(bytes.subarray(10, 20));
    expect(service.requests.slice(before).filter(({ url }) => url.includes('/container/'))).toEqual([]);
  });

  test('is STALE when its address has expired and the tag is another version now', async () => {
    service.put(HELLO_NAME, randomBytes(1000));
    const image = await resolve();
    service.expire();
    service.put(HELLO_NAME, randomBytes(1000));
    await expect(read(image)).rejects.toMatchObject({ code: 'STALE' });
  });

  test('has its size asked for with a GET where storage refuses HEAD', async () => {
    await start({
      direct: true,
      fault: (request, response) => {
        if (request.method !== 'HEAD') return false;
        response.writeHead(403).end();
        return true;
      },
    });
    service.put(HELLO_NAME, randomBytes(12_345));
    expect((await resolve()).size).toBe(12_345);
  });

  test('that is gone while its manifest is there is an error, and no absence', async () => {
    await start({
      fault: (request, response) => {
        if (!request.url?.startsWith('/download/')) return false;
        response.writeHead(404).end();
        return true;
      },
    });
    service.put(HELLO_NAME, randomBytes(10));
    await expect(backend.resolve(HELLO)).rejects.toMatchObject({ code: 'SERVICE' });
  });
});

describe('a name', () => {
  test('keeps its case, and its version is the digest or the commit of a build', async () => {
    const old = service.put('TomHarrop/Assemblers:Canu_1.8', Buffer.from('old'), { commit: 'abc123' });
    service.put('TomHarrop/Assemblers:Canu_1.8', Buffer.from('newer'));
    const name = { collection: 'TomHarrop', image: 'Assemblers', tag: 'Canu_1.8' };
    expect((await resolve(name)).size).toBe(5);
    expect((await resolve({ ...name, version: old })).size).toBe(3);
    expect(await backend.resolve({ ...name, version: 'f'.repeat(32) })).toBeUndefined();
    expect(await backend.resolve({ ...name, image: 'assemblers' })).toBeUndefined();
  });

  test('with a version is absent where the service answers with another one', async () => {
    await start({
      direct: true,
      fault: (request) => {
        request.url = request.url?.replace(/(?:@|%40)[^?]*/, '');
        return false;
      },
    });
    const version = service.put(HELLO_NAME, Buffer.from('bytes'));
    expect(await backend.resolve({ ...HELLO, version: 'a'.repeat(32) })).toBeUndefined();
    expect((await resolve({ ...HELLO, version })).size).toBe(5);
  });

  test('brings the labels and the commit that its manifest tells', async () => {
    const inspection = { data: { attributes: { labels: { MAINTAINER: 'vanessasaur' } } }, type: 'container' };
    service.put(HELLO_NAME, Buffer.from('x'), { metrics: { inspect: JSON.stringify(inspection) } });
    const { annotations } = await resolve();
    expect(annotations).toMatchObject({
      MAINTAINER: 'vanessasaur',
      'org.opencontainers.image.revision': expect.stringMatching(/^[0-9a-f]{40}$/),
    });
    expect(JSON.parse(annotations?.['org.sregistry.inspect'] ?? '')).toEqual(inspection.data.attributes);
  });
});

describe('the list of everything', () => {
  test('is read to its last page, once for all folders', async () => {
    await start({ pageSize: 2 });
    for (const name of ['a/x:1', 'a/y:1', 'b/x:1', 'b/x:2', 'c/z:1']) service.put(name, Buffer.from(name));
    const names = async (collection: string) => {
      const entries = await Array.fromAsync(backend.list(collection));
      return entries.map((entry) =>
        entry.kind === 'image' ? `${entry.name.image}:${entry.name.tag}` : entry.name,
      );
    };
    expect(await names('')).toEqual(['a', 'b', 'c']);
    expect(await names('b')).toEqual(['x:1', 'x:2']);
    await expect(names('nobody')).rejects.toMatchObject({ code: 'NOT_FOUND' });
    expect(service.requests.map(({ url }) => url)).toEqual(['/api/collections/', '/api/collections/?page=2']);
  });

  test('leaves out the collections that the Python client does, and names that are none', async () => {
    const results = [
      { id: 37, containers: [{ name: 'skipped/x', tag: '1' }] },
      {
        id: 1,
        name: 'vsoch',
        containers: [
          { name: 'short', tag: null },
          { name: '../../etc/passwd', tag: '1' },
        ],
      },
      { id: 2 },
      null,
    ];
    await start({ fault: (_request, response) => !!response.end(JSON.stringify(results)) });
    expect(await Array.fromAsync(backend.list(''))).toEqual([{ kind: 'collection', name: 'vsoch' }]);
    expect(await Array.fromAsync(backend.list('vsoch'))).toMatchObject([
      { name: { collection: 'vsoch', image: 'short', tag: 'latest' } },
    ]);
  });

  test.each([
    ['goes in circles', '/api/collections/'],
    ['leads to another host', 'http://127.0.0.2:1/api/collections/?page=2'],
  ])('is an error where it %s', async (_what, next) => {
    await start({ fault: (_request, response) => !!response.end(JSON.stringify({ results: [], next })) });
    await expect(Array.fromAsync(backend.list(''))).rejects.toMatchObject({ code: 'SERVICE' });
  });

  test('is UNSUPPORTED where the service has none', async () => {
    await start({
      fault: (request, response) =>
        !!request.url?.includes('/collections/') && !!response.writeHead(404).end('{}'),
    });
    service.put(HELLO_NAME, Buffer.from('x'));
    await expect(Array.fromAsync(backend.list(''))).rejects.toMatchObject({ code: 'UNSUPPORTED' });
    expect(await backend.resolve(HELLO)).toBeDefined();
  });

  test('is searched by part of a name, glob and regular expression', async () => {
    for (const name of ['vsoch/hello-world:latest', 'vsoch/hello:pancakes', 'other/hello-world:1'])
      service.put(name, Buffer.from(name));
    const search = async (query: SearchQuery['query']) =>
      (await Array.fromAsync(backend.search?.({ query }) ?? []))
        .map(({ name }) => `${name.collection}/${name.image}:${name.tag}`)
        .sort();
    expect(await search('PANCAKES')).toEqual(['vsoch/hello:pancakes']);
    expect(await search('vsoch/*:latest')).toEqual(['vsoch/hello-world:latest']);
    expect(await search('^vsoch/hello(-world)?:')).toEqual([
      'vsoch/hello-world:latest',
      'vsoch/hello:pancakes',
    ]);
    expect(await search('world:(1|2)$')).toEqual(['other/hello-world:1']);
    expect(await search('(unbalanced')).toEqual([]);
  });
});

describe('a service that is gone', () => {
  test.each([403, 404, 200])(
    'and whose host answers with a web page (%d) does not make images absent',
    async (status) => {
      await start({
        fault: (_request, response) =>
          !!response
            .writeHead(status, { 'content-type': 'text/html' })
            .end('<html>This domain is for sale</html>'),
      });
      const error = expect.objectContaining({ code: 'SERVICE', hint: expect.stringContaining('archive') });
      await expect(backend.resolve(HELLO)).rejects.toEqual(error);
      await expect(Array.fromAsync(backend.list(''))).rejects.toEqual(error);
      await expect(backend.check?.()).rejects.toEqual(error);
    },
  );

  test('leaves what is in the cache as it was, listed and readable', async () => {
    const home = await mkdtemp(join(tmpdir(), 'sregistry-hub-'));
    const env = {
      HOME: home,
      SREGISTRY_HUB_BASE: `${service.url}/api`,
      SREGISTRY_TIMEOUT: '3',
      SREGISTRY_TTL: '0',
    };
    const bytes = await readFile(SIF);
    service.put(HELLO_NAME, bytes);
    try {
      await usingSession(env, async (session) => {
        const archive = await session.backend('hub');
        const image = (await session.metadata.images.resolve(archive, HELLO)) as RemoteImage;
        await session.metadata.listings.list(archive, 'vsoch');
        await session.copyTo(archive, image, join(home, 'first.sif'));
      });
      await service.close();
      await usingSession(env, async (session) => {
        const archive = await session.backend('hub');
        const image = (await session.metadata.images.resolve(archive, HELLO)) as RemoteImage;
        await session.copyTo(archive, image, join(home, 'second.sif'));
        expect(await readFile(join(home, 'second.sif'))).toEqual(bytes);
        expect((await session.metadata.listings.list(archive, 'vsoch')).entries).toHaveLength(1);
        await expect(
          session.metadata.images.resolve(archive, { ...HELLO, tag: 'other' }),
        ).rejects.toMatchObject({
          code: 'UNREACHABLE',
          hint: expect.stringContaining('archive'),
        });
      });
    } finally {
      await rm(home, { recursive: true, force: true });
    }
  });
});

test('an address without a path means the API there', () => {
  const create = (base: string) => hub.create({ name: 'hub', options: { base }, env: {} }).target;
  expect(create('https://hub.example.org')).toBe('https://hub.example.org/api');
  expect(create('https://hub.example.org/old/api/')).toBe('https://hub.example.org/old/api');
});

needs({ apptainer: true })('Apptainer', () => {
  test('pulls from the fake of these tests what this driver reads', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'sregistry-hub-'));
    try {
      const bytes = await readFile(SIF);
      service.put(HELLO_NAME, bytes);
      const target = join(folder, 'pulled.sif');
      // Its addresses have no place for a port, so the fake plays singularity-hub.org behind a proxy.
      const env = { HTTP_PROXY: service.url };
      const args = ['pull', '--no-https', '--disable-cache', target, `shub://${HELLO_NAME}`];
      const pulled = await apptainer(args, { env });
      expect(pulled).toMatchObject({ code: 0 });
      expect(await readFile(target)).toEqual(bytes);
      expect(await read(await resolve())).toEqual(bytes);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});

async function usingSession(env: NodeJS.ProcessEnv, use: (session: Session) => Promise<void>): Promise<void> {
  const session = await Session.open({ env, backends: ['hub'] });
  try {
    await use(session);
  } finally {
    await session.close();
  }
}
