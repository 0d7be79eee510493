import { createHash } from 'node:crypto';
import { utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { expect, onTestFinished, test } from 'vitest';
import type { Backend } from '../../src/backends/backend.ts';
import driver from '../../src/backends/web/index.ts';
import { parseImageName, removeUri } from '../../src/image/names.ts';
import { type FileServer, type FileServerOptions, startFileServer } from '../servers/file-server.ts';

type Options = Parameters<typeof driver.create>[0]['options'];

async function serve(options?: FileServerOptions): Promise<FileServer> {
  const server = await startFileServer(options);
  onTestFinished(server.close);
  return server;
}

function connect(options: Partial<Options>): Backend {
  const none = { base: undefined, username: undefined, password: undefined, nohttps: undefined };
  const backend = driver.create({ name: 'http', options: { ...none, ...options }, env: {} });
  onTestFinished(() => backend.close?.());
  return backend;
}

/** As the commands read it. */
const named = (text: string) =>
  parseImageName(removeUri(text), { lowercase: false, first: 'host', defaultCollection: '' });

async function entries(backend: Backend, collection: string): Promise<string[]> {
  const names: string[] = [];
  for await (const entry of backend.list(collection))
    names.push(entry.kind === 'collection' ? `${entry.name}/` : `${entry.name.image}:${entry.name.tag}`);
  return names.sort();
}

test('a URL as it is copied from a browser is the name of an image, with a base and without', async () => {
  const server = await serve();
  await server.put('path/to/image.sif', 'bytes');
  const name = named(`${server.url}/path/to/image.sif`);
  for (const backend of [
    connect({}),
    connect({ base: server.url }),
    connect({ base: `${server.url}/path` }),
    connect({ base: `${server.url}/path/to/` }),
  ]) {
    const image = await backend.resolve(name);
    expect(image).toMatchObject({ name, size: 5, extension: 'sif' });
    expect(image && String(await buffer(await backend.read(image, 1, 3)))).toBe('yte');
  }
});

test('with a base, names are paths below it', async () => {
  const server = await serve();
  await server.put('containers/lab/hello:1.0.simg', 'bytes');
  const backend = connect({ base: `${server.url}/containers` });
  expect(await backend.resolve(named('lab/hello:1.0'))).toMatchObject({ size: 5, extension: 'simg' });
  expect(await entries(backend, '')).toEqual(['lab/']);
});

test('nothing outside the base is found', async () => {
  const server = await serve();
  await server.put('private/hello:1.0.sif', 'bytes');
  const backend = connect({ base: `${server.url}/public/` });
  for (const collection of ['../private', `${new URL(server.url).host}/private`, '%2e%2e/private'])
    expect(await backend.resolve({ collection, image: 'hello', tag: '1.0' })).toBeUndefined();
  expect(server.requests.map(({ url }) => url).filter((url) => !url.startsWith('/public/'))).toEqual([]);
});

test('without a base, a name without a host is nothing, and all hosts are not listed', async () => {
  const backend = connect({});
  expect(await backend.resolve(named('lab/hello:1.0'))).toBeUndefined();
  await expect(entries(backend, '')).rejects.toMatchObject({ code: 'UNSUPPORTED' });
  await expect(backend.check?.()).resolves.toBeUndefined();
});

test('without a base, a folder is listed under its host', async () => {
  const server = await serve();
  await server.put('lab/hello:1.0.sif', 'bytes');
  const { host } = new URL(server.url);
  expect(await entries(connect({}), host)).toEqual(['lab/']);
  expect(await entries(connect({}), `${host}/lab`)).toEqual(['hello:1.0']);
});

test.each(['nginx', 'apache', 'nginxJson', 'caddyJson'] as const)(
  'an index as %s makes it is read, and nothing but images and folders of it',
  async (index) => {
    const server = await serve({ index });
    for (const path of [
      'a b/x.sif',
      'é:1.sif',
      'é:1.simg',
      'plain.img',
      'README.md',
      'x:1.sif.sha256',
      '100%.sif',
    ])
      await server.put(path, 'bytes');
    expect(await entries(connect({ base: server.url }), '')).toEqual([
      '100%:latest',
      'a b/',
      'plain:latest',
      'é:1',
    ]);
  },
);

test('a server without an index finds images all the same, and says that it cannot list', async () => {
  const server = await serve({ index: 'none' });
  await server.put('hello:1.0.sif', 'bytes');
  const backend = connect({ base: server.url });
  expect(await backend.resolve(named('hello:1.0'))).toBeDefined();
  await expect(entries(backend, '')).rejects.toMatchObject({ code: 'UNSUPPORTED' });
});

test('of two files of one image, the one modified last is the image', async () => {
  const server = await serve();
  await server.put('hello.sif', 'old');
  await server.put('hello:latest.simg', 'newer');
  await utimes(join(server.folder, 'hello.sif'), new Date(0), new Date(0));
  expect(await connect({ base: server.url }).resolve(named('hello'))).toMatchObject({
    size: 5,
    extension: 'simg',
  });
});

test('the digest is that of the sidecar, unless the image was replaced since', async () => {
  const server = await serve();
  const hex = createHash('sha256').update('bytes').digest('hex');
  await server.put('hello:1.0.sif', 'bytes');
  await server.put('hello:1.0.sif.sha256', `${hex}  hello:1.0.sif\n`);
  const backend = connect({ base: server.url });
  expect(await backend.resolve(named('hello:1.0'))).toMatchObject({ digest: `sha256:${hex}` });
  await utimes(join(server.folder, 'hello:1.0.sif.sha256'), new Date(0), new Date(0));
  expect((await backend.resolve(named('hello:1.0')))?.digest).toBeUndefined();
});

test.each(['weak', 'none'] as const)('with %s entity tags a replaced image is STALE', async (etag) => {
  const server = await serve({ etag });
  await server.put('hello:1.0.sif', 'old bytes');
  await utimes(join(server.folder, 'hello:1.0.sif'), new Date(0), new Date(0));
  const backend = connect({ base: server.url });
  const image = await backend.resolve(named('hello:1.0'));
  if (image === undefined) throw new Error('absent');
  expect(String(await buffer(await backend.read(image, 0, 9)))).toBe('old bytes');
  await server.put('hello:1.0.sif', 'new bytes');
  await expect(backend.read(image, 0, 9)).rejects.toMatchObject({ code: 'STALE' });
});

test('user and password go to the base, and to no other host', async () => {
  const authorization = `Basic ${Buffer.from('me:secret').toString('base64')}`;
  const server = await serve({ authorization });
  await server.put('hello:1.0.sif', 'bytes');
  const backend = connect({ base: server.url, username: 'me', password: 'secret' });
  expect(await backend.resolve(named('hello:1.0'))).toBeDefined();
  await expect(connect({ base: server.url }).resolve(named('hello:1.0'))).rejects.toMatchObject({
    code: 'UNAUTHORIZED',
    hint: expect.stringContaining('auth login http'),
  });
  const open = await serve();
  await connect({ username: 'me', password: 'secret' }).resolve(named(`${open.url}/lab/hello:1.0`));
  expect(open.requests.map(({ headers }) => headers.authorization)).not.toContain(authorization);
});

test('a share with an end or for a person is refused, as an address has neither', async () => {
  const server = await serve();
  await server.put('hello:1.0.sif', 'bytes');
  const backend = connect({ base: server.url });
  const image = await backend.resolve(named('hello:1.0'));
  if (image === undefined) throw new Error('absent');
  await expect(backend.share?.(image, { expires: 60 })).rejects.toMatchObject({ code: 'UNSUPPORTED' });
});
