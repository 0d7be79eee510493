import { createHash } from 'node:crypto';
import { chmodSync, existsSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { expect, onTestFinished, test } from 'vitest';
import type { Backend, ListEntry, RemoteImage } from '../../src/backends/backend.ts';
import driver from '../../src/backends/local/index.ts';
import { openLibrary } from '../../src/catalog/open-library.ts';
import { parseImageName } from '../../src/image/names.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

interface House {
  readonly folder: string;
  readonly backend: Backend;
  file(content: string): string;
  push(name: string, content: string, annotations?: Record<string, string>): Promise<RemoteImage>;
}

function house(env: NodeJS.ProcessEnv = {}): House {
  const folder = temporaryFolder();
  const places = { SREGISTRY_DATABASE: join(folder, 'db'), SREGISTRY_STORAGE: join(folder, 'shub') };
  const backend = driver.create({ name: 'local', options: {}, env: { HOME: folder, ...places, ...env } });
  onTestFinished(() => backend.close?.());
  const file = (content: string) => {
    const path = join(folder, 'staged');
    writeFileSync(path, content);
    return path;
  };
  const push = (name: string, content: string, annotations?: Record<string, string>) =>
    (backend.push as NonNullable<Backend['push']>)(
      { path: file(content), size: content.length },
      parseImageName(name),
      { annotations },
    );
  return { folder, backend, file, push };
}

async function entries(backend: Backend, collection: string): Promise<string[]> {
  const found: ListEntry[] = [];
  for await (const entry of backend.list(collection)) found.push(entry);
  return found.map((entry) => {
    if (entry.kind === 'collection') return `${entry.name}/`;
    const { image, tag, version } = entry.name;
    return version === undefined ? `${image}:${tag}` : `${image}:${tag}@${version}`;
  });
}

const sha256 = (content: string) => createHash('sha256').update(content).digest('hex');

test('a machine without a library shows an empty one, and nothing is made by looking', async () => {
  const { folder, backend } = house();
  expect(await entries(backend, '')).toEqual([]);
  expect(await backend.resolve(parseImageName('a/b'))).toBeUndefined();
  await expect(entries(backend, 'a')).rejects.toMatchObject({ code: 'NOT_FOUND' });
  expect(existsSync(join(folder, 'db'))).toBe(false);
});

test('an image is pushed by copy, and resolves with its size, digest, labels and extension', async () => {
  const { backend, file, push } = house();
  const pushed = await push('vsoch/hello:1', 'bytes', { MAINTAINER: 'vanessa' });
  expect(readFileSync(file('bytes'), 'utf8')).toBe('bytes');
  expect(await backend.resolve(parseImageName('vsoch/hello:1'))).toEqual({
    ...pushed,
    name: expect.objectContaining({ collection: 'vsoch', image: 'hello', tag: '1' }),
  });
  expect(pushed).toMatchObject({
    size: 5,
    digest: `sha256:${sha256('bytes')}`,
    annotations: { MAINTAINER: 'vanessa' },
    extension: 'sif',
  });
});

test('a file that is not what its digest says is refused and not stored', async () => {
  const { backend, file } = house();
  const pushing = backend.push?.(
    { path: file('bytes'), size: 5, digest: `sha256:${sha256('others')}` },
    parseImageName('a/b'),
  );
  await expect(pushing).rejects.toMatchObject({ code: 'CORRUPT' });
  expect(await backend.resolve(parseImageName('a/b'))).toBeUndefined();
});

test('images pulled with any client are shown by collection, the newest without its version', async () => {
  const { folder, backend, file, push } = house();
  const library = openLibrary({
    databaseFile: join(folder, 'db', 'sregistry.db'),
    storage: join(folder, 'shub'),
  });
  await library.add({ name: parseImageName('quay.io/bio/samtools:1.9'), file: file('s'), client: 'docker' });
  library.close();
  await push('vsoch/hello:1', 'old');
  await push('vsoch/hello:1', 'new');
  expect(await entries(backend, '')).toEqual(['quay.io/', 'vsoch/']);
  expect(await entries(backend, 'quay.io')).toEqual(['bio/']);
  expect(await entries(backend, 'quay.io/bio')).toEqual(['samtools:1.9']);
  expect(await entries(backend, 'vsoch')).toEqual(['hello:1', `hello:1@${sha256('old')}`]);
});

test('every image of a listing resolves under the name it is listed with', async () => {
  const { backend, push } = house();
  await push('vsoch/hello:1', 'old');
  await push('vsoch/hello:1', 'new');
  await push('quay.io/bio/samtools', 'x');
  for (const collection of ['vsoch', 'quay.io/bio']) {
    for await (const entry of backend.list(collection)) {
      if (entry.kind === 'image') expect(await backend.resolve(entry.name)).toEqual(entry.remote);
    }
  }
});

test('an image of another registry does not answer to a bare name', async () => {
  const { backend, push } = house();
  await push('quay.io/library/ubuntu:22.04', 'x');
  expect(await backend.resolve(parseImageName('library/ubuntu:22.04'))).toBeUndefined();
  expect(await backend.resolve(parseImageName('quay.io/library/ubuntu:22.04'))).toBeDefined();
});

test('a row whose file is gone is no image', async () => {
  const { backend, push } = house();
  const image = await push('a/b', 'x');
  rmSync(backend.localPath?.(image) as string);
  expect(await backend.resolve(parseImageName('a/b'))).toBeUndefined();
  expect(await entries(backend, 'a')).toEqual([]);
});

test('a read gives exactly the range', async () => {
  const { backend, push } = house();
  const image = await push('a/b', '0123456789');
  expect((await buffer(await backend.read(image, 3, 4))).toString()).toBe('3456');
  expect((await buffer(await backend.read(image, 0, 10))).toString()).toBe('0123456789');
  expect((await buffer(await backend.read(image, 10, 0))).length).toBe(0);
});

test('a read of an image that was changed in place is STALE', async () => {
  const { backend, push } = house();
  const image = await push('a/b', '0123456789');
  const path = backend.localPath?.(image) as string;
  chmodSync(path, 0o644);
  writeFileSync(path, '9876543210');
  utimesSync(path, new Date(), new Date(Date.now() + 60_000));
  await expect(backend.read(image, 0, 10)).rejects.toMatchObject({ code: 'STALE' });
});

test('an image is opened as it was found: what was put at its path since is STALE', async () => {
  const { backend, push } = house();
  const image = await push('a/b', '0123456789');
  const opened = await backend.openLocal?.(image);
  expect((await opened?.readFile())?.toString()).toBe('0123456789');
  await opened?.close();
  const path = backend.localPath?.(image) as string;
  rmSync(path);
  writeFileSync(path, '9876543210');
  await expect(backend.openLocal?.(image)).rejects.toMatchObject({ code: 'STALE' });
});

test('search finds by parts of names, by globs and by labels', async () => {
  const { backend, push } = house();
  await push('vsoch/hello:1', 'a', { ORG: 'lab' });
  await push('lab/samtools:1.9', 'b');
  const search = async (query: string, labels?: Record<string, string>) => {
    const found: string[] = [];
    for await (const { name } of backend.search?.({ query, ...(labels && { labels }) }) ?? []) {
      found.push(`${name.collection}/${name.image}`);
    }
    return found;
  };
  expect(await search('')).toEqual(['lab/samtools', 'vsoch/hello']);
  expect(await search('HELLO')).toEqual(['vsoch/hello']);
  expect(await search('*:1.*')).toEqual(['lab/samtools']);
  expect(await search('', { ORG: 'lab' })).toEqual(['vsoch/hello']);
});

test('a copy is an image of its own; removing one leaves the other, and removing twice is no error', async () => {
  const { backend, push } = house();
  const original = await push('a/b', 'bytes', { ORG: 'lab' });
  const copy = await backend.copy?.(original, parseImageName('c/d:2'));
  expect(copy).toMatchObject({ digest: original.digest, annotations: { ORG: 'lab' } });
  await backend.remove?.(original);
  await backend.remove?.(original);
  expect(await backend.resolve(parseImageName('a/b'))).toBeUndefined();
  expect(await entries(backend, '')).toEqual(['c/']);
});

test('with SREGISTRY_DISABLE it says why it shows nothing', async () => {
  const { backend } = house({ SREGISTRY_DISABLE: 'yes' });
  await expect(entries(backend, '')).rejects.toMatchObject({
    code: 'UNSUPPORTED',
    hint: expect.stringContaining('SREGISTRY_DISABLE'),
  });
});
