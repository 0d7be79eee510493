import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import type { Backend, ListEntry, PushOptions, RemoteImage } from '../../src/backends/backend.ts';
import driver from '../../src/backends/dir/index.ts';
import { drivers } from '../../src/backends/registry.ts';
import { createBackend } from '../../src/client/session.ts';
import type { ImageName } from '../../src/image/name.ts';
import { parseImageName } from '../../src/image/names.ts';
import { instanceNamed } from '../../src/settings/instances.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

interface House {
  /** Beside the base. */
  readonly outside: string;
  readonly base: string;
  readonly backend: Backend;
  /** A file below the base, its folders made. */
  put(path: string, content: string): string;
  push(name: ImageName, content: string, options?: PushOptions): Promise<RemoteImage>;
}

function house(): House {
  const folder = temporaryFolder();
  const base = join(folder, 'base');
  const outside = join(folder, 'outside');
  mkdirSync(base);
  mkdirSync(outside);
  const backend = driver.create({ name: 'shared', options: { base }, env: {} });
  const put = (path: string, content: string) => {
    const file = join(base, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, content);
    return file;
  };
  const push = (name: ImageName, content: string, options: PushOptions = {}) => {
    const path = join(outside, 'staged');
    writeFileSync(path, content);
    return (backend.push as NonNullable<Backend['push']>)({ path, size: content.length }, name, options);
  };
  return { outside, base, backend, put, push };
}

const named = (text: string) => parseImageName(text, { lowercase: false, first: 'host' });
const hello: ImageName = { collection: 'lab', image: 'hello', tag: '1.0' };
const sha256 = (content: string) => createHash('sha256').update(content).digest('hex');

async function entries(backend: Backend, collection: string): Promise<string[]> {
  const found: ListEntry[] = [];
  for await (const entry of backend.list(collection)) found.push(entry);
  return found.map((entry) => {
    if (entry.kind === 'collection') return `${entry.name}/`;
    const { image, tag, version } = entry.name;
    return version === undefined ? `${image}:${tag}` : `${image}:${tag}@${version}`;
  });
}

async function text(stream: Promise<Readable>): Promise<string> {
  return (await buffer(await stream)).toString();
}

async function found(backend: Backend, query = '', labels?: Record<string, string>): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of backend.search?.({ query, ...(labels && { labels }) }) ?? []) {
    names.push(`${name.collection}/${name.image}:${name.tag}`);
  }
  return names.sort();
}

test('images lie in the folders of their collection, tagged or latest, in any image extension', async () => {
  const { backend, put } = house();
  put('lab/tools/samtools:1.9.simg', 'a');
  put('lab/tools/bwa.sif', 'b');
  put('lab/tools/bwa:0.7@abc.img', 'c');
  put('top.sif', 'd');
  put('lab/tools/README.md', 'no image');
  put('lab/tools/.hidden.sif', 'no image');
  put('.git/x.sif', 'no image');
  expect(await entries(backend, '')).toEqual(['lab/', 'top:latest']);
  expect(await entries(backend, 'lab')).toEqual(['tools/']);
  expect(await entries(backend, 'lab/tools')).toEqual(['bwa:latest', 'bwa:0.7@abc', 'samtools:1.9']);
});

test('every image of a listing resolves under the name it is listed with', async () => {
  const { backend, put, push } = house();
  put('lab/samtools:1.9.simg', 'a');
  put('lab/bwa.sif', 'b');
  put('lab/bwa:0.7@abc.img', 'c');
  await push(hello, 'bytes', { annotations: { A: 'b' } });
  let images = 0;
  for await (const entry of backend.list('lab')) {
    if (entry.kind !== 'image') continue;
    images += 1;
    const resolved = await backend.resolve(entry.name);
    expect(resolved?.extension).toEqual(entry.extension);
    expect({ ...resolved, digest: undefined, annotations: undefined }).toEqual(await entry.look?.());
  }
  expect(images).toBe(4);
});

test('of two files of one image, the one written last is the image', async () => {
  const { backend, put } = house();
  const old = put('lab/bwa.sif', 'old');
  put('lab/bwa:latest.simg', 'newer');
  utimesSync(old, new Date(0), new Date(0));
  expect(await entries(backend, 'lab')).toEqual(['bwa:latest']);
  expect(await backend.resolve(named('lab/bwa'))).toMatchObject({ size: 5, extension: 'simg' });
});

test('a name that no file can have is absent', async () => {
  const { backend } = house();
  for (const name of [
    { collection: '../outside', image: 'x', tag: 'latest' },
    { collection: 'lab', image: '../x', tag: 'latest' },
    { collection: 'lab', image: 'x', tag: '../../y' },
    { collection: 'lab', image: '.hidden', tag: 'latest' },
    { collection: 'lab', image: 'x'.repeat(300), tag: 'latest' },
  ]) {
    expect(await backend.resolve(name)).toBeUndefined();
  }
});

test('a base that is not there is an error, not an empty registry', async () => {
  const { backend, base } = house();
  renameSync(base, `${base}-away`);
  await expect(backend.resolve(hello)).rejects.toMatchObject({ code: 'UNREACHABLE' });
  await expect(entries(backend, '')).rejects.toMatchObject({ code: 'UNREACHABLE' });
  await expect(backend.check?.()).rejects.toMatchObject({ code: 'UNREACHABLE' });
});

test('a collection that is not there is NOT_FOUND', async () => {
  const { backend } = house();
  await expect(entries(backend, 'nowhere')).rejects.toMatchObject({ code: 'NOT_FOUND' });
  await expect(entries(backend, '../outside')).rejects.toMatchObject({ code: 'NOT_FOUND' });
});

test('a link that stays inside is an image or a collection; one that leaves is nothing', async () => {
  const { backend, base, outside, put } = house();
  put('lab/real:1.sif', 'inside');
  writeFileSync(join(outside, 'secret.sif'), 'secret');
  symlinkSync('real:1.sif', join(base, 'lab', 'alias:2.sif'));
  symlinkSync('lab', join(base, 'also-lab'));
  symlinkSync(join(outside, 'secret.sif'), join(base, 'lab', 'secret:1.sif'));
  symlinkSync(outside, join(base, 'way-out'));
  expect(await entries(backend, '')).toEqual(['also-lab/', 'lab/']);
  expect(await entries(backend, 'lab')).toEqual(['alias:2', 'real:1']);
  const alias = (await backend.resolve(named('also-lab/alias:2'))) as RemoteImage;
  expect(await text(backend.read(alias, 0, 6))).toBe('inside');
  expect(await backend.resolve(named('lab/secret:1'))).toBeUndefined();
  expect(await backend.resolve(named('way-out/secret'))).toBeUndefined();
});

test('an image that turns into a link out of the base is not read', async () => {
  const { backend, base, outside, put } = house();
  put('lab/hello:1.0.sif', 'bytes');
  const image = (await backend.resolve(hello)) as RemoteImage;
  renameSync(join(base, 'lab'), join(outside, 'lab'));
  symlinkSync(join(outside, 'lab'), join(base, 'lab'));
  await expect(backend.read(image, 0, 5)).rejects.toMatchObject({ code: 'FORBIDDEN' });
});

test('nothing is pushed through a link that leaves the base', async () => {
  const { base, outside, push } = house();
  symlinkSync(outside, join(base, 'lab'));
  await expect(push(hello, 'bytes')).rejects.toMatchObject({ code: 'FORBIDDEN' });
  expect(readdirSync(outside)).toEqual(['staged']);
});

test('a read gives exactly the range, and long ones in order', async () => {
  const { backend, push } = house();
  const content = Array.from({ length: 200_000 }, (_, i) => String(i).padStart(7)).join('');
  const image = await push(hello, content);
  expect(await text(backend.read(image, 0, content.length))).toBe(content);
  expect(await text(backend.read(image, 1_000_003, 14))).toBe(content.slice(1_000_003, 1_000_017));
  expect(await text(backend.read(image, content.length, 0))).toBe('');
});

test('the bytes of a revision that was replaced or removed are STALE', async () => {
  const { backend, push } = house();
  const image = await push(hello, 'first');
  await push(hello, 'other');
  await expect(backend.read(image, 0, 5)).rejects.toMatchObject({ code: 'STALE' });
  await backend.remove?.((await backend.resolve(hello)) as RemoteImage);
  await expect(backend.read(image, 0, 5)).rejects.toMatchObject({ code: 'STALE' });
});

test('an image is opened as it was found: what was put at its path since is STALE, and no opening waits', async () => {
  const { backend, outside, put } = house();
  const file = put('lab/hello:1.0.sif', 'bytes');
  const image = (await backend.resolve(hello)) as RemoteImage;
  const opened = await backend.openLocal?.(image);
  expect((await opened?.readFile())?.toString()).toBe('bytes');
  await opened?.close();
  const kept = join(outside, 'kept');
  renameSync(file, kept);
  symlinkSync(kept, file);
  await expect(backend.openLocal?.(image)).rejects.toMatchObject({ code: 'STALE' });
  rmSync(file);
  execFileSync('mkfifo', [file]);
  await expect(backend.openLocal?.(image)).rejects.toMatchObject({ code: 'STALE' });
  rmSync(file);
  put('lab/hello:1.0.sif', 'other');
  await expect(backend.openLocal?.(image)).rejects.toMatchObject({ code: 'STALE' });
});

test('an image in a folder that became a link out of the base is not opened', async () => {
  const { backend, base, outside, put } = house();
  put('lab/hello:1.0.sif', 'bytes');
  const image = (await backend.resolve(hello)) as RemoteImage;
  renameSync(join(base, 'lab'), join(outside, 'lab'));
  symlinkSync(join(outside, 'lab'), join(base, 'lab'));
  await expect(backend.openLocal?.(image)).rejects.toMatchObject({ code: 'FORBIDDEN' });
});

test('a file that is cut short while it is read ends in STALE, not in fewer bytes', async () => {
  const { backend, push, base } = house();
  const image = await push(hello, 'x'.repeat(4 * 1024 * 1024));
  const stream = await backend.read(image, 0, image.size);
  writeFileSync(join(base, 'lab', 'hello:1.0.sif'), 'short');
  await expect(buffer(stream)).rejects.toMatchObject({ code: 'STALE' });
});

test('a reader keeps the revision it opened while another is pushed', async () => {
  const { backend, push } = house();
  const image = await push(hello, 'a'.repeat(2 * 1024 * 1024));
  const stream = await backend.read(image, 0, image.size);
  await push(hello, 'b'.repeat(2 * 1024 * 1024));
  expect(new Set(await buffer(stream))).toEqual(new Set([97]));
});

test('a canceled read and a destroyed one close the file', async () => {
  const { backend, push } = house();
  const image = await push(hello, 'x'.repeat(4 * 1024 * 1024));
  const open = () =>
    readdirSync('/proc/self/fd').filter((fd) => {
      const link = join('/proc/self/fd', fd);
      return (
        lstatSync(link, { throwIfNoEntry: false }) !== undefined && sameFile(link, backend.localPath?.(image))
      );
    });
  const abort = new AbortController();
  const canceled = await backend.read(image, 0, image.size, abort.signal);
  const destroyed = await backend.read(image, 0, image.size);
  expect(open()).toHaveLength(2);
  abort.abort();
  destroyed.destroy();
  await expect(buffer(canceled)).rejects.toMatchObject({ code: 'CANCELED' });
  await expect.poll(open).toHaveLength(0);
});

function sameFile(link: string, path: string | undefined): boolean {
  const stats = statSync(link, { throwIfNoEntry: false });
  return stats !== undefined && stats.ino === statSync(path as string).ino;
}

test('a push makes folders, one file with the right bytes, its sum and its annotations, and no litter', async () => {
  const { backend, base, push } = house();
  const done: number[] = [];
  const image = await push(hello, 'bytes', {
    annotations: { ORG: 'lab' },
    progress: (bytes, total) => done.push(bytes / total),
  });
  expect(readdirSync(join(base, 'lab')).sort()).toEqual([
    'hello:1.0.sif',
    'hello:1.0.sif.json',
    'hello:1.0.sif.sha256',
  ]);
  expect(readFileSync(join(base, 'lab', 'hello:1.0.sif'), 'utf8')).toBe('bytes');
  expect(readFileSync(join(base, 'lab', 'hello:1.0.sif.sha256'), 'utf8')).toBe(
    `${sha256('bytes')}  hello:1.0.sif\n`,
  );
  expect(image).toMatchObject({ size: 5, digest: `sha256:${sha256('bytes')}`, annotations: { ORG: 'lab' } });
  expect(done.at(-1)).toBe(1);
  expect(await entries(backend, 'lab')).toEqual(['hello:1.0']);
});

test('a push keeps the extension it was written under, and that of the image it replaces', async () => {
  const { backend, base, outside, push } = house();
  const path = join(outside, 'staged');
  writeFileSync(path, 'one');
  await backend.push?.({ path, size: 3, extension: 'simg' }, hello);
  await push(hello, 'second');
  expect(readdirSync(join(base, 'lab')).filter((file) => !file.endsWith('.sha256'))).toEqual([
    'hello:1.0.simg',
  ]);
  expect(readFileSync(join(base, 'lab', 'hello:1.0.simg'), 'utf8')).toBe('second');
});

test('a push without annotations does not inherit those of the image it replaces', async () => {
  const { backend, push } = house();
  await push(hello, 'one', { annotations: { ORG: 'lab' } });
  await push(hello, 'two');
  expect((await backend.resolve(hello))?.annotations).toBeUndefined();
});

test('a file that is not what its digest says is refused, and what was there stays', async () => {
  const { backend, base, outside, push } = house();
  await push(hello, 'good');
  const path = join(outside, 'bad');
  writeFileSync(path, 'evil');
  const pushing = backend.push?.({ path, size: 4, digest: `sha256:${sha256('good')}` }, hello);
  await expect(pushing).rejects.toMatchObject({ code: 'CORRUPT' });
  expect(readFileSync(join(base, 'lab', 'hello:1.0.sif'), 'utf8')).toBe('good');
  expect(readdirSync(join(base, 'lab'))).toEqual(['hello:1.0.sif', 'hello:1.0.sif.sha256']);
});

test('a push that is canceled leaves nothing behind', async () => {
  const { base, push } = house();
  const signal = AbortSignal.abort();
  await expect(push(hello, 'bytes', { signal })).rejects.toMatchObject({ code: 'CANCELED' });
  expect(readdirSync(join(base, 'lab'))).toEqual([]);
});

test('names that cannot be files are refused', async () => {
  const { push } = house();
  for (const name of [
    { collection: '../outside', image: 'x', tag: '1' },
    { collection: 'lab', image: '.x', tag: '1' },
    { collection: 'lab', image: 'x', tag: '1/../../y' },
  ]) {
    await expect(push(name, 'x')).rejects.toMatchObject({ code: 'INVALID_NAME' });
  }
});

test('a sum written by sha256sum is the digest, until the image is newer than the sum', async () => {
  const { backend, put } = house();
  const image = put('lab/hello:1.0.sif', 'bytes');
  put('lab/hello:1.0.sif.sha256', `${sha256('bytes')} *hello:1.0.sif\n`);
  expect((await backend.resolve(hello))?.digest).toBe(`sha256:${sha256('bytes')}`);
  const later = new Date(Date.now() + 60_000);
  utimesSync(image, later, later);
  expect((await backend.resolve(hello))?.digest).toBeUndefined();
});

test('sidecars that are malformed or lead out of the base say nothing', async () => {
  const { backend, base, outside, put } = house();
  put('lab/hello:1.0.sif', 'bytes');
  put('lab/hello:1.0.sif.sha256', 'no sum');
  put('lab/hello:1.0.sif.json', '{ "broken": ');
  expect(await backend.resolve(hello)).toMatchObject({ digest: undefined, annotations: undefined });
  put('lab/other:1.sif', 'bytes');
  writeFileSync(join(outside, 'secret.json'), '{"password": "x"}');
  symlinkSync(join(outside, 'secret.json'), join(base, 'lab', 'other:1.sif.json'));
  expect((await backend.resolve(named('lab/other:1')))?.annotations).toBeUndefined();
});

test('search walks every folder once, also where links make a circle', async () => {
  const { backend, base, put, push } = house();
  put('lab/tools/samtools:1.9.simg', 'a');
  put('top.sif', 'b');
  await push(hello, 'c', { annotations: { ORG: 'lab' } });
  symlinkSync(base, join(base, 'lab', 'circle'));
  expect(await found(backend)).toEqual(['/top:latest', 'lab/hello:1.0', 'lab/tools/samtools:1.9']);
  expect(await found(backend, 'SAM')).toEqual(['lab/tools/samtools:1.9']);
  expect(await found(backend, 'lab/*:1.*')).toEqual(['lab/hello:1.0', 'lab/tools/samtools:1.9']);
  expect(await found(backend, '', { ORG: 'lab' })).toEqual(['lab/hello:1.0']);
});

test('remove takes the image and its sidecars, leaves the folder, and is no error twice', async () => {
  const { backend, base, push } = house();
  const image = await push(hello, 'bytes', { annotations: { ORG: 'lab' } });
  await backend.remove?.(image);
  await backend.remove?.(image);
  expect(readdirSync(join(base, 'lab'))).toEqual([]);
});

test('remove takes a link, not what it points to, and not a newer image than was meant', async () => {
  const { backend, base, put, push } = house();
  put('lab/real:1.sif', 'real');
  symlinkSync('real:1.sif', join(base, 'lab', 'alias:1.sif'));
  await backend.remove?.((await backend.resolve(named('lab/alias:1'))) as RemoteImage);
  expect(existsSync(join(base, 'lab', 'real:1.sif'))).toBe(true);
  expect(lstatSync(join(base, 'lab', 'alias:1.sif'), { throwIfNoEntry: false })).toBeUndefined();
  const old = await push(hello, 'old');
  await push(hello, 'newer');
  await expect(backend.remove?.(old)).rejects.toMatchObject({ code: 'STALE' });
  expect((await backend.resolve(hello))?.size).toBe(5);
});

test('a copy has the same bytes, digest and annotations under its own name', async () => {
  const { backend, push } = house();
  const image = await push(hello, 'bytes', { annotations: { ORG: 'lab' } });
  const copy = (await backend.copy?.(image, named('other/place/hello:2'))) as RemoteImage;
  expect(await text(backend.read(copy, 0, 5))).toBe('bytes');
  expect(copy).toMatchObject({ digest: image.digest, annotations: { ORG: 'lab' }, extension: 'sif' });
  await push(hello, 'newer');
  await expect(backend.copy?.(image, named('x/y'))).rejects.toMatchObject({ code: 'STALE' });
  expect(await entries(backend, 'x')).toEqual([]);
});

test('without a base the backend cannot be made, and says how to give one', async () => {
  const secrets = { shared: { driver: 'dir' } };
  const instance = instanceNamed('shared', { drivers, secrets });
  await expect(createBackend(instance, { env: {}, secrets })).rejects.toMatchObject({
    code: 'SETTINGS',
    message: 'The backend shared lacks base (Path of the directory)',
    hint: 'Set it with: sregistry backend add shared --driver dir base=/shared/containers, or with the variable SREGISTRY_SHARED_BASE',
  });
});
