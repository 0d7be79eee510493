import { createHash } from 'node:crypto';
import { copyFile, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import type { Backend, ListEntry, RemoteImage } from '../../src/backends/backend.ts';
import oci from '../../src/backends/oci/index.ts';
import { needs } from '../helpers/skip.ts';
import { startRegistry, type TestRegistry } from '../servers/docker-registry.ts';
import {
  digest,
  type FakeRegistry,
  type FakeRegistryOptions,
  startFakeRegistry,
} from '../servers/fake-registry.ts';
import { sendRange, startFaultServer } from '../servers/http-faults.ts';

const SIF = join(import.meta.dirname, '../fixtures/images/small-gzip.sif');
const OCI_MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const SIF_LAYER = 'application/vnd.sylabs.sif.layer.v1.sif';

type Full = Backend & Required<Pick<Backend, 'push' | 'copy' | 'remove' | 'search' | 'check' | 'close'>>;

function open(base: string | undefined): Full {
  const options = {
    base,
    username: undefined,
    password: undefined,
    nohttps: undefined,
    soci: undefined,
    arch: undefined,
  };
  return oci.create({ name: 'lab', options, env: { HOME: '/nonexistent' } }) as Full;
}

const named = (path: string, tag = '1.0') => {
  const [image = '', ...folders] = path.split('/').reverse();
  return { collection: folders.reverse().join('/'), image, tag };
};

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

const shown = (entries: ListEntry[]) =>
  entries.map((entry) =>
    entry.kind === 'image' ? `${entry.name.image}:${entry.name.tag}` : `${entry.name}/`,
  );

const code = (code: string) => expect.objectContaining({ code });

needs({ registry: true })('a real registry', () => {
  let registry: TestRegistry;
  let backend: Full;
  let folder: string;
  let file: { path: string; size: number };
  let bytes: Buffer;
  beforeAll(async () => {
    registry = await startRegistry();
    backend = open(registry.url);
    folder = await mkdtemp(join(tmpdir(), 'sregistry-oci-'));
    file = { path: SIF, size: (await stat(SIF)).size };
    bytes = await readFile(SIF);
  });
  afterAll(async () => {
    await backend?.close();
    await registry?.remove();
    await rm(folder, { recursive: true });
  });

  /** Requests that sent a blob's bytes since `count` requests had been made. */
  const uploadsSince = async (count: number) => {
    await vi.waitFor(() => expect(registry.log().at(-1)?.method).toBe('PUT'), { timeout: 30_000 });
    return registry
      .log()
      .slice(count)
      .filter(({ method }) => method === 'PATCH').length;
  };

  test('a large image goes up before anybody asks for its blob, and again under another tag', async () => {
    const path = join(folder, 'large.sif');
    const large = Buffer.concat([bytes, Buffer.alloc(65 * 1024 * 1024, 'large')]);
    await writeFile(path, large);
    const before = registry.log().length;
    for (const tag of ['1.0', '2.0']) {
      const pushed = await backend.push({ path, size: large.length }, named('demo/large', tag));
      expect(pushed).toMatchObject({ digest: digest(large), size: large.length });
    }
    await vi.waitFor(() => expect(registry.log().at(-1)?.path).toContain('manifests/2.0'), {
      timeout: 30_000,
    });
    expect(registry.log().slice(before)[0]).toMatchObject({ method: 'POST', status: 202 });
    expect(large.equals(await readFile(registry.blobFile(digest(large))))).toBe(true);
  });

  test('what was pushed is found with its size, digest, time and annotations, and reads back equal', async () => {
    const name = named('demo/first');
    expect(await backend.resolve(name)).toBeUndefined();
    const seen: [number, number][] = [];
    const pushed = await backend.push(file, name, {
      annotations: { 'org.label': 'ünïcode' },
      progress: (done, total) => seen.push([done, total]),
    });
    const image = (await backend.resolve(name)) as RemoteImage;
    expect(image).toEqual(pushed);
    expect(image).toMatchObject({
      size: file.size,
      digest: digest(bytes),
      revision: digest(bytes),
      annotations: { 'org.label': 'ünïcode', 'org.opencontainers.image.title': 'first_1.0.sif' },
    });
    expect(Math.abs(Date.now() - (image.modified?.getTime() ?? 0))).toBeLessThan(60_000);
    expect(seen.at(-1)).toEqual([file.size, file.size]);
    const read = await buffer(await backend.read(image, 0, image.size));
    expect(createHash('sha256').update(read).digest('hex')).toBe(image.digest?.slice('sha256:'.length));
    expect(await buffer(await backend.read(image, 1_000_000, 4321))).toEqual(
      bytes.subarray(1_000_000, 1_004_321),
    );
  });

  test('bytes that the repository or another one has are not sent again', async () => {
    await backend.push(file, named('demo/twice'));
    const before = registry.log().length;
    await backend.push(file, named('demo/twice', '2.0'));
    await backend.push(file, named('demo/elsewhere'));
    expect(await uploadsSince(before)).toBe(0);
    expect(await backend.resolve(named('demo/elsewhere'))).toMatchObject({ digest: digest(bytes) });
  });

  test('a version is the digest of a manifest or of the image file', async () => {
    const name = named('demo/pinned');
    const pushed = await backend.push(file, name);
    for (const version of [String(pushed.handle.manifest), pushed.revision])
      expect(await backend.resolve({ ...name, version })).toMatchObject({ revision: pushed.revision });
    expect(await backend.resolve({ ...name, version: `sha256:${'0'.repeat(64)}` })).toBeUndefined();
    expect(await backend.resolve({ ...name, version: 'abc' })).toBeUndefined();
  });

  test('repositories are folders, their tags are images', async () => {
    await backend.push(file, named('tree'));
    await backend.push(file, named('tree/a/deep'));
    await backend.push(file, named('tree/b', 'x'));
    await backend.push(file, named('tree/b', 'y'));
    expect(shown(await collect(backend.list('')))).toEqual(expect.arrayContaining(['tree/', 'tree:1.0']));
    expect(shown(await collect(backend.list('tree'))).sort()).toEqual(['a/', 'b:x', 'b:y']);
    expect(shown(await collect(backend.list('tree/a')))).toEqual(['deep:1.0']);
    await expect(collect(backend.list('tree/none'))).rejects.toEqual(code('NOT_FOUND'));
  });

  test('search finds by substring and by glob, over all folders', async () => {
    await backend.push(file, named('search/one'));
    await backend.push(file, named('search/sub/two'), { annotations: { kind: 'b' } });
    const find = async (query: string, labels?: Record<string, string>) =>
      (await collect(backend.search({ query, labels }))).map(({ name }) => name.image).sort();
    expect(await find('search/')).toEqual(['one', 'two']);
    expect(await find('search/*:1.0')).toEqual(['one', 'two']);
    expect(await find('*two*')).toEqual(['two']);
    expect(await find('search/', { kind: 'b' })).toEqual(['two']);
    expect(await find('no such thing')).toEqual([]);
  });

  test('a copy sends no bytes, within a repository and to another', async () => {
    const image = await backend.push(file, named('copy/from'));
    const before = registry.log().length;
    const retagged = await backend.copy(image, named('copy/from', 'again'));
    const copied = await backend.copy(image, named('copy/to'));
    expect(await uploadsSince(before)).toBe(0);
    expect([retagged.revision, copied.revision]).toEqual([image.revision, image.revision]);
    expect(await backend.resolve(named('copy/to'))).toEqual(copied);
  });

  test('a tag is removed only if no other tag would go with it', async () => {
    const image = await backend.push(file, named('remove/me'));
    const twin = await sameManifest(image, 'twin');
    await expect(backend.remove(image)).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      message: expect.stringContaining('the tag twin'),
    });
    const path = join(folder, 'other.sif');
    await copyFile(SIF, path);
    await writeFile(path, 'more', { flag: 'a' });
    await backend.push({ path, size: file.size + 4 }, named('remove/me', 'twin'));
    await expect(backend.remove(twin)).rejects.toEqual(code('STALE'));
    await backend.remove(image);
    expect(await backend.resolve(image.name)).toBeUndefined();
    expect(await backend.resolve(twin.name)).toBeDefined();
    await backend.remove(image);
  });

  test('a copy can be removed, and so can its original', async () => {
    const image = await backend.push(file, named('remove/copied'));
    const copy = await backend.copy(image, named('remove/copied', 'copy'));
    await backend.remove(image);
    expect(await backend.resolve(copy.name)).toMatchObject({ digest: image.digest });
    await backend.remove(copy);
    expect(await backend.resolve(copy.name)).toBeUndefined();
  });

  /** Another tag of the very same manifest, as `oras tag` makes it. */
  async function sameManifest(image: RemoteImage, tag: string): Promise<RemoteImage> {
    const { repository, manifest } = image.handle;
    const manifests = `${registry.url}/v2/${repository}/manifests`;
    const type = 'application/vnd.oci.image.manifest.v1+json';
    const bytes = await (await fetch(`${manifests}/${manifest}`, { headers: { accept: type } })).text();
    await fetch(`${manifests}/${tag}`, { method: 'PUT', body: bytes, headers: { 'content-type': type } });
    return (await backend.resolve({ ...image.name, tag })) as RemoteImage;
  }

  test('an image that was deleted since it was looked up is STALE', async () => {
    const image = await backend.push(file, named('stale/image'));
    const lost = { ...image, handle: { ...image.handle, layer: `sha256:${'1'.repeat(64)}` } };
    await expect(backend.read(lost, 0, 10)).rejects.toEqual(code('STALE'));
  });

  test('names that the registry cannot have are absent, and refused for a push', async () => {
    expect(await backend.resolve(named('demo/.Trash-0'))).toBeUndefined();
    expect(await backend.resolve(named('Demo/X'))).toBeUndefined();
    await expect(backend.push(file, named('Demo/x'))).rejects.toEqual(code('INVALID_NAME'));
    await expect(backend.push(file, named('demo/x', '-bad'))).rejects.toEqual(code('INVALID_NAME'));
  });

  test('a push that must not replace anything is EXISTS where the tag is there, and changes nothing', async () => {
    const name = named('demo/absent');
    const pushed = await backend.push(file, name, { ifAbsent: true });
    const options = { ifAbsent: true, annotations: { changed: 'yes' } };
    await expect(backend.push(file, name, options)).rejects.toEqual(code('EXISTS'));
    expect(await backend.resolve(name)).toEqual(pushed);
    await backend.push(file, { ...name, tag: '2.0' }, options);
  });

  test('check passes here, and says what is not a registry', async () => {
    await backend.check();
    const web = await startFaultServer((_, response) => response.writeHead(404).end('<html>'));
    const wrong = open(web.url);
    await expect(wrong.check()).rejects.toMatchObject({
      message: expect.stringContaining('not an OCI registry'),
    });
    await wrong.close();
    await web.close();
  });
});

describe('a registry of the specification', () => {
  async function start(options?: FakeRegistryOptions): Promise<{ registry: FakeRegistry; backend: Full }> {
    const registry = await startFakeRegistry(options);
    const backend = open(registry.url);
    onTestFinished(() => registry.close());
    onTestFinished(() => backend.close());
    return { registry, backend };
  }

  const layerOf = (bytes: Buffer, mediaType = SIF_LAYER) => ({
    mediaType,
    digest: digest(bytes),
    size: bytes.length,
  });
  const image = (bytes: Buffer) => ({ mediaType: OCI_MANIFEST, layers: [layerOf(bytes)] });

  test('a tag that holds something else is there, and says what it is', async () => {
    const { registry, backend } = await start();
    const tar = layerOf(Buffer.from('x'), 'application/vnd.oci.image.layer.v1.tar+gzip');
    registry.putManifest('demo/docker', '1.0', { mediaType: OCI_MANIFEST, layers: [tar, tar] });
    const found = (await backend.resolve(named('demo/docker'))) as RemoteImage;
    expect(found.unpresentable).toContain('a Docker/OCI image with 2 layers');
    await expect(backend.read(found, 0, 1)).rejects.toEqual(code('NOT_PRESENTABLE'));
  });

  test('of an index, the image for this machine is found; removing it removes the index', async () => {
    const { registry, backend } = await start();
    const bytes = Buffer.from('an image');
    const child = registry.putManifest('demo/multi', 'child', image(bytes));
    const size = registry.manifests.get('demo/multi:child')?.bytes.length;
    const top = registry.putManifest('demo/multi', '1.0', {
      mediaType: 'application/vnd.oci.image.index.v1+json',
      manifests: [{ mediaType: OCI_MANIFEST, digest: child, size }],
    });
    const found = (await backend.resolve(named('demo/multi'))) as RemoteImage;
    expect(found).toMatchObject({ revision: digest(bytes), handle: { manifest: top } });
    await backend.remove(found);
    expect([...registry.manifests.keys()]).toContain('demo/multi:child');
    expect([...registry.manifests.keys()]).not.toContain('demo/multi:1.0');
  });

  test('a manifest that does not have its digest is CORRUPT', async () => {
    const { registry, backend } = await start();
    const wrong = registry.putManifest('demo/x', '1.0', image(Buffer.from('a')));
    registry.manifests.set(`demo/x@${wrong}`, {
      bytes: Buffer.from(JSON.stringify(image(Buffer.from('b')))),
      type: OCI_MANIFEST,
    });
    await expect(backend.resolve({ ...named('demo/x', 'gone'), version: wrong })).rejects.toEqual(
      code('CORRUPT'),
    );
  });

  test('catalog and tags are read to their last page, and what is no valid name is left out', async () => {
    const { registry, backend } = await start({ pageSize: 3 });
    for (let i = 0; i < 10; i++) registry.putManifest(`many/r${i}`, 't', image(Buffer.from('x')));
    for (let i = 0; i < 10; i++) registry.putManifest('many/r0', `t${i}`, image(Buffer.from('x')));
    registry.putManifest('many/../../etc', 't', image(Buffer.from('x')));
    registry.putManifest('many/r1', '../x', image(Buffer.from('x')));
    const entries = shown(await collect(backend.list('many')));
    expect(entries).toHaveLength(20);
    expect(entries.join()).not.toContain('..');
  });

  test('the catalog is asked for once for many folders, and again after a push', async () => {
    const { registry, backend } = await start();
    registry.putManifest('a/b/c', 't', image(Buffer.from('x')));
    for (const folder of ['', 'a', 'a/b']) await collect(backend.list(folder));
    const asked = () => registry.requests.filter(({ url }) => url.startsWith('/v2/_catalog')).length;
    expect(asked()).toBe(1);
    await backend.push({ path: SIF, size: (await stat(SIF)).size }, named('new/image'));
    expect(shown(await collect(backend.list('')))).toEqual(['a/', 'new/']);
    expect(asked()).toBe(2);
  });

  test.each([401, 403, 404, 405])(
    'a catalog that is answered with %i is UNSUPPORTED, and images are still found',
    async (status) => {
      const { registry, backend } = await start({
        fault: (request, response) => {
          if (!request.url?.startsWith('/v2/_catalog')) return false;
          response.writeHead(status).end();
          return true;
        },
      });
      registry.putManifest('demo/x', '1.0', image(Buffer.from('x')));
      await expect(collect(backend.list('demo'))).rejects.toEqual(code('UNSUPPORTED'));
      await expect(collect(backend.list('demo/x'))).rejects.toMatchObject({
        code: 'UNSUPPORTED',
        hint: expect.stringContaining('one of its 1 tags: 1.0'),
      });
      expect(await backend.resolve(named('demo/x'))).toBeDefined();
      expect((await collect(backend.search({ query: 'demo/x' }))).map(({ name }) => name.tag)).toEqual([
        '1.0',
      ]);
    },
  );

  test('a push that must not replace anything looks right before the manifest is put', async () => {
    const { registry, backend } = await start();
    const { size } = await stat(SIF);
    await backend.push({ path: SIF, size }, named('demo/x'), { ifAbsent: true });
    const [look, put] = registry.requests.slice(-2);
    expect(look).toMatchObject({ method: 'HEAD', url: '/v2/demo/x/manifests/1.0' });
    expect(put).toMatchObject({ method: 'PUT', headers: { 'if-none-match': '*' } });
    await backend.push({ path: SIF, size }, named('demo/x'));
    expect(registry.requests.at(-1)?.headers['if-none-match']).toBeUndefined();
  });

  test('a push that must not replace anything is EXISTS where the registry says so, unless it finds itself', async () => {
    const { size } = await stat(SIF);
    let putOther = false;
    let isLost = false;
    const { registry, backend } = await start({
      fault: (request, response) => {
        if (request.method !== 'PUT' || !request.url?.includes('/manifests/')) return false;
        const isThere = registry.manifests.has('demo/x:1.0');
        if (isThere || putOther) {
          if (putOther) registry.putManifest('demo/x', '1.0', { mediaType: OCI_MANIFEST, layers: [] });
          response.writeHead(412).end();
          return true;
        }
        // The manifest is stored, and the answer is lost.
        if (isLost) response.writeHead = () => request.socket.destroy() as never;
        return false;
      },
    });
    isLost = true;
    await backend.push({ path: SIF, size }, named('demo/x'), { ifAbsent: true });
    registry.manifests.clear();
    putOther = true;
    await expect(backend.push({ path: SIF, size }, named('demo/x'), { ifAbsent: true })).rejects.toEqual(
      code('EXISTS'),
    );
  });

  test('blobs are read from where the registry redirects to, which is remembered', async () => {
    const bytes = Buffer.from('0123456789'.repeat(100));
    const storage = await startFaultServer((request, response) => sendRange(request, response, bytes));
    onTestFinished(() => storage.close());
    const { registry, backend } = await start({ storage: storage.url });
    registry.blobs.set(`demo/x@${digest(bytes)}`, bytes);
    registry.putManifest('demo/x', '1.0', image(bytes));
    const found = (await backend.resolve(named('demo/x'))) as RemoteImage;
    for (const offset of [0, 100, 500])
      expect(await buffer(await backend.read(found, offset, 50))).toEqual(
        bytes.subarray(offset, offset + 50),
      );
    expect(registry.requests.filter(({ url }) => url.includes('/blobs/'))).toHaveLength(1);
    expect(storage.requests).toHaveLength(3);
  });

  test('a registry that does not mount is CROSS_BACKEND for a copy, and leaves no upload open', async () => {
    const { registry, backend } = await start({
      fault: (request) => {
        if (request.url?.includes('mount=')) request.url = request.url.replace(/\?.*/, '');
        return false;
      },
    });
    const bytes = Buffer.from('x');
    registry.blobs.set(`demo/x@${digest(bytes)}`, bytes);
    registry.putManifest('demo/x', '1.0', image(bytes));
    const found = (await backend.resolve(named('demo/x'))) as RemoteImage;
    await expect(backend.copy(found, named('demo/y'))).rejects.toEqual(code('CROSS_BACKEND'));
    expect(registry.uploads.size).toBe(0);
  });
});

test('without a base the top cannot be listed, and a base with a path is refused', async () => {
  const backend = open(undefined);
  await expect(collect(backend.list(''))).rejects.toEqual(code('UNSUPPORTED'));
  expect([backend.defaultCollection, backend.target]).toEqual(['library', 'https://registry-1.docker.io']);
  await backend.close();
  expect(() => open('https://quay.io/namespace')).toThrow(code('SETTINGS'));
});
