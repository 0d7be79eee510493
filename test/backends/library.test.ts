import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Backend, RemoteImage } from '../../src/backends/backend.ts';
import driver from '../../src/backends/library/index.ts';
import { atLeast } from '../../src/backends/library/push.ts';
import { parseRemotes } from '../../src/backends/library/remotes.ts';
import type { ImageName } from '../../src/image/name.ts';
import { needs } from '../helpers/skip.ts';
import { apptainer } from '../servers/apptainer.ts';
import {
  type FakeLibrary,
  type FakeLibraryOptions,
  LIBRARY_TOKEN,
  startFakeLibrary,
} from '../servers/library.ts';

const SIF = join(import.meta.dirname, '../fixtures/images/small-gzip.sif');
const NAME: ImageName = { collection: 'lab/tools', image: 'hello', tag: '1.0' };

let folder: string;
let library: FakeLibrary;
let backend: Backend;

function connect(options: Record<string, string | undefined> = {}, env: NodeJS.ProcessEnv = {}): Backend {
  const all = { base: library.url, token: LIBRARY_TOKEN, arch: 'amd64', ...options };
  return driver.create({
    name: 'library',
    options: all,
    env: { HOME: folder, SREGISTRY_TIMEOUT: '5', ...env },
  });
}

async function start(options: FakeLibraryOptions = {}): Promise<void> {
  await backend?.close?.();
  await library?.close();
  library = await startFakeLibrary(options);
  backend = connect();
}

async function push(bytes: Buffer, name = NAME): Promise<RemoteImage> {
  const path = join(folder, 'image.sif');
  await writeFile(path, bytes);
  return (await backend.push?.({ path, size: bytes.length }, name)) as RemoteImage;
}

const resolve = async (name = NAME) => (await backend.resolve(name)) as RemoteImage;
const read = async (image: RemoteImage) => buffer(await backend.read(image, 0, image.size));

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sregistry-library-'));
  await start();
});
afterEach(async () => {
  await backend.close?.();
  await library.close();
  await rm(folder, { recursive: true });
});

describe('an image', () => {
  test('is read through presigned URLs, and its login stays with the library', async () => {
    const bytes = randomBytes(100_000);
    const image = await push(bytes);
    expect(await read(image)).toEqual(bytes);
    const storage = library.requests.filter(({ url }) => url.startsWith('/storage/'));
    expect(storage.length).toBeGreaterThan(1);
    expect(storage.filter(({ headers }) => headers.authorization !== undefined)).toEqual([]);
  });

  test('takes one request to be found, and one to the library for many ranges', async () => {
    await push(randomBytes(100_000));
    const before = library.requests.length;
    const image = await resolve();
    expect(library.requests.length - before).toBe(1);
    for (const offset of [0, 10_000, 50_000]) await buffer(await backend.read(image, offset, 1000));
    const asked = library.requests.slice(before + 1).map(({ url }) => url.split('?')[0]);
    expect(asked.filter((url) => url?.startsWith('/v1/'))).toHaveLength(1);
  });

  test('is read on when its presigned URL has expired', async () => {
    const bytes = randomBytes(10_000);
    const image = await push(bytes);
    await read(image);
    library.expire();
    expect(await read(image)).toEqual(bytes);
  });

  test('whose tag was pushed again is the old one for who opened it', async () => {
    const bytes = randomBytes(10_000);
    const image = await push(bytes);
    await push(randomBytes(10_000));
    expect(await read(image)).toEqual(bytes);
    expect((await resolve()).digest).not.toBe(image.digest);
  });

  test('is found by its digest as version', async () => {
    const old = await push(Buffer.from('old'));
    const now = await push(Buffer.from('newer'));
    expect((await resolve({ ...NAME, version: old.digest })).size).toBe(3);
    expect((await resolve({ ...NAME, version: now.digest?.slice('sha256:'.length) })).size).toBe(5);
    expect(await backend.resolve({ ...NAME, version: `sha256:${'0'.repeat(64)}` })).toBeUndefined();
  });

  test('of a library that states no size has the size of its file', async () => {
    await push(randomBytes(12_345));
    library.describe(({ uploaded: _, ...image }) => ({ ...image, size: 0 }));
    expect(await resolve()).toMatchObject({ size: 12_345, digest: expect.stringMatching(/^sha256:/) });
  });

  test('for another architecture is shown as such', async () => {
    await push(randomBytes(100));
    backend = connect({ arch: 'riscv64' });
    expect((await resolve()).unpresentable).toBe(
      'an image for amd64, not for riscv64; choose one with --arch, such as --arch amd64',
    );
    expect(await backend.resolve({ ...NAME, tag: 'other' })).toBeUndefined();
  });

  test('with a name of one or two parts is asked for as it is', async () => {
    const bytes = randomBytes(100);
    await push(bytes, { collection: 'library/default', image: 'alpine', tag: 'latest' });
    expect(backend.defaultCollection).toBe('library/default');
    expect((await resolve({ collection: 'default', image: 'alpine', tag: 'latest' })).size).toBe(100);
    expect(
      (await resolve({ registry: 'library', collection: 'default', image: 'alpine', tag: 'latest' })).size,
    ).toBe(100);
  });
});

describe('a push', () => {
  test('of an image that the library has only sets the tag', async () => {
    const bytes = randomBytes(1000);
    await push(bytes);
    const before = library.requests.length;
    await push(bytes, { ...NAME, tag: '2.0' });
    const sent = library.requests.slice(before).map(({ method, url }) => `${method} ${url}`);
    expect(sent.filter((one) => one.includes('imagefile'))).toEqual([]);
    expect(await read(await resolve({ ...NAME, tag: '2.0' }))).toEqual(bytes);
  });

  test('of two processes at once makes what is missing once', async () => {
    const path = join(folder, 'image.sif');
    await writeFile(path, randomBytes(1000));
    const another = connect();
    const pushed = await Promise.all(
      [backend, another].map((one) => one.push?.({ path, size: 1000 }, NAME) as Promise<RemoteImage>),
    );
    await another.close?.();
    expect(pushed[0]?.digest).toBe(pushed[1]?.digest);
    expect(library.pending()).toEqual([]);
  });

  test('sets the tag of the architecture that the image has', async () => {
    backend = connect({ arch: 'arm64' });
    const pushed = await push(await readFile(SIF));
    expect(pushed.size).toBeGreaterThan(0);
    expect((await resolve()).unpresentable).toMatch(/amd64/);
    backend = connect();
    expect((await resolve()).digest).toBe(pushed.digest);
  });

  test('leaves no tag where the bytes did not arrive', async () => {
    await start({ checks: false });
    library.describe((image) => ({ ...image, uploaded: false }));
    await expect(push(randomBytes(100))).rejects.toMatchObject({ code: 'SERVICE' });
  });

  test('without the right token is refused, and names the login', async () => {
    backend = connect({ token: 'wrong' });
    await expect(push(randomBytes(100))).rejects.toMatchObject({
      code: 'UNAUTHORIZED',
      hint: expect.stringContaining('sregistry auth login library'),
    });
    await expect(backend.check?.()).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
  });

  test.each([
    ['lab/tools/deep', 'hello'],
    ['lab', 'hello'],
    ['lab/..', 'hello'],
    ['lab/a:b', 'hello'],
  ])('of %s/%s is refused before anything is sent', async (collection, image) => {
    const before = library.requests.length;
    await expect(push(randomBytes(10), { collection, image, tag: '1' })).rejects.toMatchObject({
      code: 'INVALID_NAME',
    });
    expect(library.requests.length).toBe(before);
  });
});

describe('a removal', () => {
  test('is refused while the image has another tag, which would go too', async () => {
    const bytes = randomBytes(100);
    const image = await push(bytes);
    await push(bytes, { ...NAME, tag: 'latest' });
    await expect(backend.remove?.(image)).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      message: expect.stringContaining('latest'),
    });
    expect(await read(await resolve())).toEqual(bytes);
  });

  test('of an image that was replaced is STALE', async () => {
    const image = await push(randomBytes(100));
    await push(randomBytes(100));
    await expect(backend.remove?.(image)).rejects.toMatchObject({ code: 'STALE' });
  });
});

describe('a listing', () => {
  test('by ids is the same as one by paths', async () => {
    await start({ listing: 'id' });
    await push(randomBytes(10));
    await push(randomBytes(10), { ...NAME, image: 'other' });
    const list = async (collection: string) => {
      const names: string[] = [];
      for await (const entry of backend.list(collection))
        names.push(entry.kind === 'image' ? `${entry.name.image}:${entry.name.tag}` : entry.name);
      return names;
    };
    expect(await list('lab')).toEqual(['tools']);
    expect(await list('lab/tools')).toEqual(['hello:1.0', 'other:1.0']);
    await expect(list('')).rejects.toMatchObject({ code: 'UNSUPPORTED' });
    await expect(list('lab/none')).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });
});

describe('the token of apptainer remote login', () => {
  const remote = (uri: string) =>
    `Active: mine\nRemotes:\n    SylabsCloud:\n        URI: cloud.sylabs.io\n        Token: other\n        System: true\n` +
    `    mine:\n        URI: ${uri}\n        Token: ${LIBRARY_TOKEN}\n        System: false\n        Exclusive: false\n        Insecure: true\n`;

  test('is used for the library of its remote', async () => {
    await mkdir(join(folder, '.apptainer'));
    await writeFile(join(folder, '.apptainer/remote.yaml'), remote(new URL(library.url).host));
    backend = connect({ token: undefined });
    await backend.check?.();
    expect(library.requests.at(-1)?.headers.authorization).toBe(`Bearer ${LIBRARY_TOKEN}`);
  });

  test('is not sent to another library', async () => {
    await mkdir(join(folder, '.apptainer'));
    await writeFile(join(folder, '.apptainer/remote.yaml'), remote('127.0.0.1:1'));
    backend = connect(
      { token: undefined },
      { https_proxy: 'http://127.0.0.1:1', no_proxy: new URL(library.url).host },
    );
    await backend.check?.();
    expect(library.requests.map(({ headers }) => headers.authorization)).toEqual([undefined]);
  });

  test('is read from the style that Apptainer writes, the active remote first', () => {
    expect(parseRemotes(remote('lib.example.org'))).toEqual([
      { uri: 'lib.example.org', token: LIBRARY_TOKEN, insecure: true },
      { uri: 'cloud.sylabs.io', token: 'other', insecure: false },
    ]);
    for (const text of [
      '',
      'Remotes: {a: {URI: x, Token: y}}',
      '\0',
      'Remotes:\n    a:\n        URI: a b\n        Token: x\n',
    ])
      expect(parseRemotes(text)).toEqual([]);
  });
});

describe('a library that lies', () => {
  test.each([
    ['a hash that is none', { hash: 17 }],
    ['a size beyond all', { size: Number.MAX_VALUE }],
  ])('with %s gives an error, and no image', async (_what, lie) => {
    await push(randomBytes(100));
    library.describe((image) => ({ ...image, ...lie }));
    const resolved = await backend.resolve(NAME).catch((error) => error);
    expect(resolved).toMatchObject('hash' in lie ? { code: 'SERVICE' } : { size: 100 });
  });
});

test.each([
  ['2.0.0-alpha.2', true],
  ['2.0.0-alpha.10', true],
  ['2.0.0', true],
  ['2.1.0-alpha.1', true],
  ['2.0.0-alpha.1', false],
  ['1.9.0', false],
  [undefined, false],
])('an API of version %s has tags by architecture: %s', (version, expected) => {
  expect(atLeast(version, '2.0.0-alpha.2')).toBe(expected);
});

needs({ apptainer: true })('Apptainer', () => {
  const config = () => join(folder, '.apptainer');
  const run = async (...args: string[]) => {
    const env = { APPTAINER_CONFIGDIR: config(), APPTAINER_CACHEDIR: join(folder, 'cache') };
    const result = await apptainer(args, { env });
    expect(result).toEqual({ ...result, code: 0, stderr: expect.not.stringContaining('FATAL') });
  };

  /** As a user does. Its login is then the one of the driver too. */
  const login = async () => {
    await writeFile(join(folder, 'token'), LIBRARY_TOKEN);
    // Apptainer's `remote add` takes no port.
    const uri = `//${new URL(library.url).host}`;
    await mkdir(config(), { recursive: true });
    await writeFile(
      join(config(), 'remote.yaml'),
      `Active: mine\nRemotes:\n    mine:\n        URI: ${uri}\n        System: false\n        Exclusive: false\n        Insecure: true\n`,
      { mode: 0o600 },
    );
    await run('remote', 'login', '--tokenfile', join(folder, 'token'), 'mine');
  };

  test('pulls what was pushed here', async () => {
    await push(await readFile(SIF));
    const file = join(folder, 'pulled.sif');
    await run('pull', '-U', '--library', library.url, file, 'library://lab/tools/hello:1.0');
    expect(await readFile(file)).toEqual(await readFile(SIF));
  });

  test.each([
    ['', {}],
    [' to a library without checksums or parts', { checks: false, partSize: 0 }],
    [' to a library of long ago', { version: '2.0.0-alpha.1' }],
  ])('pushes%s, and what it pushed is read here with its login', async (_what, options) => {
    await start(options);
    await login();
    await run('push', '-U', SIF, 'library://lab/tools/hello:1.0');
    backend = connect({ token: undefined });
    await backend.check?.();
    expect(library.requests.at(-1)?.url).toBe('/v1/token-status');
    expect(await read(await resolve())).toEqual(await readFile(SIF));
  });

  test('pushes a large image in parts', async () => {
    await login();
    const large = join(folder, 'large.sif');
    // What follows the objects of a SIF is no concern of anybody.
    await writeFile(large, Buffer.concat([await readFile(SIF), randomBytes(65 * 1024 * 1024)]));
    await run('push', '-U', large, 'library://lab/tools/large:1.0');
    expect(library.requests.filter(({ url }) => url.startsWith('/storage/part')).length).toBeGreaterThan(8);
    const pulled = await read(await resolve({ ...NAME, image: 'large' }));
    expect(pulled.equals(await readFile(large))).toBe(true);
  });
});
