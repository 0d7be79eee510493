import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Backend, RemoteImage } from '../../src/backends/backend.ts';
import driver from '../../src/backends/registry/index.ts';
import type { ImageName } from '../../src/image/name.ts';
import { redact } from '../../src/log/index.ts';
import { resolveOptions } from '../../src/settings/resolve.ts';
import { openCache, readRange } from '../cache/support.ts';
import {
  REGISTRY_LOGIN,
  type RegistryServer,
  type RegistryServerOptions,
  startRegistryServer,
} from '../servers/registry-server.ts';

const HOUR = 3_600_000;
const NAME: ImageName = { collection: 'lab', image: 'hello', tag: '1.0' };

let folder: string;
let server: RegistryServer;
let backend: Backend;

function connect(
  options: { base?: string; username?: string | undefined; token?: string | undefined } = {},
): Backend {
  const all = { base: server.url, ...REGISTRY_LOGIN, nohttps: undefined, ...options };
  return driver.create({
    name: 'registry',
    options: all,
    env: { SREGISTRY_TIMEOUT: '5', XDG_STATE_HOME: folder },
  });
}

async function start(options: RegistryServerOptions = {}): Promise<void> {
  await backend?.close?.();
  await server?.close();
  server = await startRegistryServer(options);
  backend = connect();
}

async function push(bytes: Buffer, name = NAME, ifAbsent = false): Promise<RemoteImage> {
  const path = join(folder, 'image.sif');
  await writeFile(path, bytes);
  return (await backend.push?.({ path, size: bytes.length }, name, { ifAbsent })) as RemoteImage;
}

const resolve = async (name = NAME, at = backend) => (await at.resolve(name)) as RemoteImage;
const read = async (image: RemoteImage, at = backend) => buffer(await at.read(image, 0, image.size));
const names = async (found: AsyncIterable<RemoteImage> | undefined) =>
  (await Array.fromAsync(found ?? []))
    .map(({ name }) => `${name.collection}/${name.image}:${name.tag}`)
    .sort();

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sregistry-registry-'));
  await start();
});
afterEach(async () => {
  await backend.close?.();
  await server.close();
  await rm(folder, { recursive: true });
});

describe('a signature', () => {
  test('is of the collection as the server formats it', async () => {
    const bytes = randomBytes(100);
    const name = { collection: 'My_Lab', image: 'Hello', tag: 'V1' };
    const pushed = await push(bytes, name);
    expect(server.containers[0]).toMatchObject({ name: 'hello', tag: 'v1', collection: { name: 'my-lab' } });
    expect(pushed.name).toEqual(name);
    expect(await read(await resolve(name))).toEqual(bytes);
  });

  test.each([-HOUR, HOUR, 26 * HOUR])('is made once more by a clock that is %d ms off', async (skew) => {
    await start({ skew });
    const bytes = randomBytes(100);
    const image = await push(bytes);
    expect(server.requests.filter(({ url }) => url.includes('chunked_upload'))).toHaveLength(2);
    server.put('lab/private:1', bytes, { isPrivate: true });
    expect((await resolve({ ...NAME, image: 'private', tag: '1' })).size).toBe(100);
    await backend.remove?.(image);
    expect(await backend.resolve(NAME)).toBeUndefined();
  });

  test('is not made again where the clocks agree', async () => {
    backend = connect({ token: 'wrong' });
    await expect(push(randomBytes(10))).rejects.toMatchObject({
      code: 'FORBIDDEN',
      message: expect.stringContaining('Unauthorized'),
      hint: expect.stringContaining('sregistry auth login registry'),
    });
    expect(server.requests).toHaveLength(1);
  });

  test('is tried at a login, as far as the server can tell', async () => {
    await expect(backend.check?.()).resolves.toBeUndefined();
    await expect(connect({ token: 'wrong' }).check?.()).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
    await expect(connect({ token: undefined }).check?.()).resolves.toBeUndefined();
  });

  test('is asked for with the names of its variables where there is no login', async () => {
    backend = connect({ username: undefined, token: undefined });
    const missing = {
      code: 'UNAUTHORIZED',
      hint: expect.stringMatching(/SREGISTRY_REGISTRY_USERNAME and SREGISTRY_REGISTRY_TOKEN/),
    };
    await expect(push(randomBytes(10))).rejects.toMatchObject(missing);
    expect(server.requests).toHaveLength(0);
    server.put('lab/hello:1.0', randomBytes(10), { isPrivate: true });
    await expect(backend.resolve(NAME)).rejects.toMatchObject(missing);
  });
});

describe('a private image', () => {
  test('is signed for once it was refused', async () => {
    const bytes = randomBytes(100);
    server.put('lab/hello:1.0', bytes, { isPrivate: true });
    expect(await read(await resolve())).toEqual(bytes);
    const asked = server.requests.filter(({ url }) => url.startsWith('/api/container/'));
    expect(asked.map(({ headers }) => headers.authorization?.split('=')[0])).toEqual([
      undefined,
      'SREGISTRY-HMAC-SHA256 Credential',
    ]);
  });

  test('with a wrong token is FORBIDDEN, though the server says 200 and 400', async () => {
    server.put('lab/hello:1.0', randomBytes(10), { isPrivate: true });
    backend = connect({ token: 'wrong' });
    await expect(backend.resolve(NAME)).rejects.toMatchObject({ code: 'FORBIDDEN' });
  });

  test('is not listed, which is an error that says so', async () => {
    server.put('lab/hello:1.0', randomBytes(10), { isPrivate: true });
    await expect(Array.fromAsync(backend.list('lab'))).rejects.toMatchObject({
      code: 'FORBIDDEN',
      message: expect.stringContaining('private'),
    });
  });
});

describe('a download', () => {
  test('is counted once for a lookup and the read of all of it', async () => {
    const bytes = randomBytes(1_000_000);
    const container = server.put('lab/hello:1.0', bytes);
    const image = await resolve();
    expect(await resolve()).toEqual(image);
    expect(await read(image)).toEqual(bytes);
    expect(container.gets).toBe(1);
  });

  test('is counted once, whatever is read of the image through the cache', async () => {
    const bytes = randomBytes(20_000_000);
    const container = server.put('lab/hello:1.0', bytes);
    const image = await resolve();
    const { cache, close } = await openCache(join(folder, 'cache'));
    const open = cache.open(backend.target, image, (offset, length, signal) =>
      backend.read(image, offset, length, signal),
    );
    const [first, last] = await Promise.all([
      readRange(open, 0, 1000),
      readRange(open, bytes.length - 1000, 1000),
    ]);
    expect(first.equals(bytes.subarray(0, 1000))).toBe(true);
    expect(last.equals(bytes.subarray(-1000))).toBe(true);
    expect((await readRange(open, 5_000_000, 1000)).equals(bytes.subarray(5_000_000, 5_001_000))).toBe(true);
    await cache.close(open);
    await close();
    expect(container.gets).toBe(1);
  });

  test('is not counted again in another process, which knows the size', async () => {
    const container = server.put('lab/hello:1.0', randomBytes(1000));
    await resolve();
    const another = connect();
    expect((await resolve(NAME, another)).size).toBe(1000);
    await another.close?.();
    expect(container.gets).toBe(1);
    await writeFile(join(folder, 'sregistry/registry-sizes.json'), 'damaged');
    expect((await resolve(NAME, connect())).size).toBe(1000);
    expect(container.gets).toBe(2);
  });

  test('by a lookup that nobody reads after ends by itself', async () => {
    server.put('lab/hello:1.0', randomBytes(50_000_000));
    await resolve();
    await backend.close?.();
    expect((await fetch(`${server.url}/api/registry/identity`)).status).toBe(200);
  });

  test('over the limit is an error that says so, in both of its forms', async () => {
    await start({ limit: 1 });
    const bytes = randomBytes(100);
    server.put('lab/hello:1.0', bytes);
    const image = await resolve();
    await read(image);
    await expect(backend.read(image, 0, 50)).rejects.toMatchObject({ code: 'RATE_LIMITED' });
    await rm(join(folder, 'sregistry'), { recursive: true });
    await expect(connect().resolve(NAME)).rejects.toMatchObject({
      code: 'RATE_LIMITED',
      hint: expect.stringContaining('100 downloads a week'),
    });
  });

  test('is the replaced image for nobody', async () => {
    const image = await push(randomBytes(100));
    await push(randomBytes(100));
    await expect(read(image)).rejects.toMatchObject({ code: 'STALE' });
  });

  test('leaves the secret of its address out of handles and logs', async () => {
    const { collection } = server.put('lab/hello:1.0', randomBytes(100));
    const image = await resolve();
    expect(JSON.stringify(image)).not.toContain(collection.secret);
    expect(redact(`GET /containers/1/download/${collection.secret}`)).not.toContain(collection.secret);
  });
});

test('a handle that another version wrote is STALE, so that the image is looked up again', async () => {
  const image = { ...(await push(randomBytes(100))), sequential: true, handle: { id: 5 } };
  await expect(read(image)).rejects.toMatchObject({ code: 'STALE' });
});

describe('an image in the storage of the library API', () => {
  test('is read in ranges, and not counted', async () => {
    const bytes = randomBytes(100_000);
    const container = server.put('lab/hello:1.0', bytes, { place: 'library', isPrivate: true });
    const image = await resolve();
    expect(image).toMatchObject({ size: 100_000, digest: expect.stringMatching(/^sha256:/) });
    expect(image.sequential).toBeUndefined();
    expect(await buffer(await backend.read(image, 50_000, 1000))).toEqual(bytes.subarray(50_000, 51_000));
    server.expire();
    expect(await buffer(await backend.read(image, 90_000, 1000))).toEqual(bytes.subarray(90_000, 91_000));
    expect(container.gets).toBe(0);
    server.put('lab/hello:1.0', randomBytes(100_000), { place: 'library' });
    server.expire();
    await expect(backend.read(image, 0, 1000)).rejects.toMatchObject({ code: 'STALE' });
  });
});

describe('a push', () => {
  test('that the server refuses in a message of success is an error', async () => {
    await push(randomBytes(100));
    (server.containers[0] as { frozen: boolean }).frozen = true;
    await expect(push(randomBytes(100))).rejects.toMatchObject({
      code: 'EXISTS',
      message: expect.stringContaining('frozen'),
    });
  });

  test('that the server drops in silence is an error', async () => {
    await start({ superuser: true });
    server.put('lab/other:1.0', randomBytes(10));
    server.takeOver('lab');
    const pushing = push(randomBytes(100));
    await expect(pushing).rejects.toMatchObject({
      code: 'FORBIDDEN',
      hint: expect.stringContaining('owners'),
    });
  });

  test('into the collection of somebody else is FORBIDDEN', async () => {
    server.put('lab/other:1.0', randomBytes(10));
    server.takeOver('lab');
    await expect(push(randomBytes(10))).rejects.toMatchObject({ code: 'FORBIDDEN' });
  });

  test('over an image is refused if that is asked for', async () => {
    await push(randomBytes(10));
    await expect(push(randomBytes(10), NAME, true)).rejects.toMatchObject({ code: 'EXISTS' });
  });

  test.each(['a/b', '..', '-_-'])(
    'into the collection %s is refused before anything is sent',
    async (collection) => {
      await expect(push(randomBytes(10), { ...NAME, collection })).rejects.toMatchObject({
        code: 'INVALID_NAME',
      });
      expect(server.requests).toEqual([]);
    },
  );
});

describe('a removal', () => {
  test('of a frozen image is FORBIDDEN with the words of the server', async () => {
    const image = await push(randomBytes(10));
    (server.containers[0] as { frozen: boolean }).frozen = true;
    await expect(backend.remove?.(image)).rejects.toMatchObject({
      code: 'FORBIDDEN',
      message: expect.stringContaining('is frozen'),
    });
  });

  test('of an image that was replaced is STALE', async () => {
    const image = await push(randomBytes(10));
    await push(randomBytes(11));
    await expect(backend.remove?.(image)).rejects.toMatchObject({ code: 'STALE' });
  });
});

describe('a search', () => {
  beforeEach(() => {
    for (const name of ['lab/hello:1.0', 'lab/hello:2.0', 'lab/other:1.0', 'farm/hello:1.0'])
      server.put(name, Buffer.from(name), {
        labels: { MAINTAINER: name.split('/')[0] as string, cow: 'moo' },
      });
  });
  const search = (query: string, labels?: Record<string, string>) =>
    names(backend.search?.({ query, labels }));

  test.each([
    ['', ['farm/hello:1.0', 'lab/hello:1.0', 'lab/hello:2.0', 'lab/other:1.0']],
    ['lab/', ['lab/hello:1.0', 'lab/hello:2.0', 'lab/other:1.0']],
    ['/hello', ['farm/hello:1.0', 'lab/hello:1.0', 'lab/hello:2.0']],
    ['/hello:2.0', ['lab/hello:2.0']],
    ['lab/hello', ['lab/hello:1.0', 'lab/hello:2.0']],
    ['Lab/Hello:1.0', ['lab/hello:1.0']],
    ['farm', ['farm/hello:1.0']],
    ['b/he', ['lab/hello:1.0', 'lab/hello:2.0']],
    ['*/hello:1*', ['farm/hello:1.0', 'lab/hello:1.0']],
  ])('for "%s" finds what the form means', async (query, found) => {
    expect(await search(query)).toEqual(found);
  });

  test('for labels finds them in any case, and all of several', async () => {
    expect(await search('', { maintainer: 'farm' })).toEqual(['farm/hello:1.0']);
    expect(await search('hello', { COW: 'moo' })).toEqual([
      'farm/hello:1.0',
      'lab/hello:1.0',
      'lab/hello:2.0',
    ]);
    expect(await search('', { cow: 'moo', MAINTAINER: 'farm' })).toEqual(['farm/hello:1.0']);
    expect(await search('', { cow: 'quack' })).toEqual([]);
  });

  test('downloads nothing, and follows pages to the end', async () => {
    for (let number = 0; number < 250; number += 1) server.put(`many/image${number}:1`, Buffer.from('x'));
    expect((await search('many')).length).toBe(250);
    expect(server.containers.map(({ gets }) => gets).filter((gets) => gets > 0)).toEqual([]);
  });

  test('does not follow pages to another origin', async () => {
    await start({ domain: 'elsewhere.example.org' });
    for (let number = 0; number < 101; number += 1) server.put(`many/image${number}:1`, Buffer.from('x'));
    await expect(search('many')).rejects.toMatchObject({
      code: 'SERVICE',
      message: expect.stringContaining('elsewhere.example.org'),
    });
  });
});

describe('the address', () => {
  test.each([
    ['containers.example.org', undefined, 'https://containers.example.org'],
    ['containers.example.org', true, 'http://containers.example.org'],
    ['http://127.0.0.1', undefined, 'http://127.0.0.1'],
    ['https://example.org/registry/api/', true, 'https://example.org/registry'],
    ['example.org/api', undefined, 'https://example.org'],
  ])('%s, nohttps %s, is that of %s', async (base, nohttps, target) => {
    const other = driver.create({
      name: 'registry',
      options: { base, nohttps, username: undefined, token: undefined },
      env: {},
    });
    expect(other.target).toBe(target);
    await other.close?.();
  });

  test('in a name is asked instead, without the login', async () => {
    const elsewhere = await startRegistryServer();
    try {
      const { host } = new URL(elsewhere.url);
      const name = { ...NAME, registry: host };
      elsewhere.put('lab/hello:1.0', randomBytes(77));
      backend = driver.create({
        name: 'registry',
        options: { base: server.url, ...REGISTRY_LOGIN, nohttps: true },
        env: { XDG_STATE_HOME: folder },
      });
      expect((await resolve(name)).size).toBe(77);
      elsewhere.put('lab/hello:1.0', randomBytes(78), { isPrivate: true });
      await expect(backend.resolve(name)).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
      expect(elsewhere.requests.filter(({ headers }) => headers.authorization)).toEqual([]);
      expect(server.requests).toEqual([]);
    } finally {
      await elsewhere.close();
    }
  });

  test('and the login are found where the Python client keeps them', () => {
    const { options: schema } = driver;
    const find = (entry: Record<string, string>, env = {}) =>
      resolveOptions({ instance: 'registry', driver: 'registry', schema, env, secrets: { registry: entry } })
        .values;
    const values = { base: 'https://example.org', username: 'vsoch', token: 'secret' };
    expect(find(values)).toMatchObject(values);
    expect(
      find({
        SREGISTRY_REGISTRY_BASE: values.base,
        SREGISTRY_REGISTRY_USERNAME: values.username,
        SREGISTRY_REGISTRY_TOKEN: values.token,
      }),
    ).toMatchObject(values);
    expect(find(values, { SREGISTRY_REGISTRY_NOHTTPS: 'true' }).nohttps).toBe(true);
  });
});
