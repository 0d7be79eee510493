/** The driver on a real service: what the suite in ./conformance.ts cannot know of S3. */
import { createHash, randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Backend, ImageFile, PushState, RemoteImage } from '../../src/backends/backend.ts';
import { createLayout } from '../../src/backends/kit/layout.ts';
import { storeBackend } from '../../src/backends/kit/store-backend.ts';
import { Bucket } from '../../src/backends/s3/bucket.ts';
import { digestHeaders, digestsOf } from '../../src/backends/s3/digests.ts';
import driver from '../../src/backends/s3/index.ts';
import { bucketStore } from '../../src/backends/s3/store.ts';
import { createUpload, listUploads, putContent } from '../../src/backends/s3/uploads.ts';
import { needs } from '../helpers/skip.ts';
import { temporaryFolder } from '../helpers/temporary.ts';
import { cutAfter, type FaultProxy, startFaultProxy } from '../servers/fault-proxy.ts';
import { s3Options, startS3, type TestS3 } from '../servers/s3.ts';

const MEGABYTE = 1024 * 1024;

needs({ s3: true })('S3', () => {
  let service: TestS3;
  let proxy: FaultProxy;
  let name: string;
  let s3: Backend;
  /** For what the driver does not do. */
  let bucket: Bucket;

  beforeAll(async () => {
    service = await startS3();
    proxy = await startFaultProxy(service.url);
    name = await service.createBucket();
    ({ backend: s3, bucket } = connect(name));
  });
  afterAll(async () => {
    await s3?.close?.();
    await bucket?.close();
    await proxy?.close();
    await service?.stop();
  });

  function connect(to: string, given: Record<string, string> = {}) {
    const options = s3Options({ base: proxy.url, bucket: to, ...service.login, ...given });
    return {
      backend: driver.create({ name: 's3', options, env: {} }),
      bucket: new Bucket({ name: 's3', options, env: {} }),
    };
  }

  /** As `boto3` does it: without any header but its own. */
  async function put(
    key: string,
    bytes: Buffer,
    metadata: Record<string, string> = {},
    to = bucket,
  ): Promise<void> {
    const headers = Object.entries(metadata).map(([key, value]) => [`x-amz-meta-${key}`, value]);
    await to.request('PUT', key, {
      body: bytes,
      headers: { ...Object.fromEntries(headers), ...digestHeaders(digestsOf(bytes)) },
    });
  }

  const keys = async () => {
    const reply = await bucket.request('GET', '', { query: { 'list-type': 2 } });
    return [...reply.text().matchAll(/<Key>([^<]*)</g)].map(([, key]) => key);
  };

  function file(bytes: Buffer): ImageFile {
    const path = join(temporaryFolder(), 'image.sif');
    writeFileSync(path, bytes);
    return { path, size: bytes.length };
  }

  const image = (collection: string, reference: string) => {
    const [name = '', tag = ''] = reference.split(':');
    return { collection, image: name, tag };
  };
  const read = async (image: RemoteImage, backend = s3) => buffer(await backend.read(image, 0, image.size));
  const push = async (bytes: Buffer, to: ReturnType<typeof image>, options = {}, backend = s3) =>
    (await backend.push?.(file(bytes), to, options)) as RemoteImage;
  const resolved = async (of: ReturnType<typeof image>, backend = s3) =>
    (await backend.resolve(of)) as RemoteImage;
  const names = async (collection: string, backend = s3) =>
    (await Array.fromAsync(backend.list(collection))).map((entry) =>
      entry.kind === 'collection' ? `${entry.name}/` : `${entry.name.image}:${entry.name.tag}`,
    );
  const since = (start: number) => proxy.requests.slice(start).map(({ method, url }) => `${method} ${url}`);

  test('what the Python client pushed is listed, resolved and read', async () => {
    const bytes = randomBytes(3 * MEGABYTE);
    const metadata = { sizemb: '3', client: 'sregistry', type: 'container' };
    await put('vsoch/hello-world:latest@abc123.sif', bytes, metadata);
    await put('vsoch/hello-world:1.0.sif', bytes, metadata);
    expect(await names('vsoch')).toEqual(['hello-world:1.0', 'hello-world:latest']);
    const found = await resolved(image('vsoch', 'hello-world:1.0'));
    expect(found).toMatchObject({ size: bytes.length, annotations: {}, extension: 'sif' });
    expect((await read(found)).equals(bytes)).toBe(true);
    const pinned = await s3.resolve({ ...image('vsoch', 'hello-world:latest'), version: 'abc123' });
    expect(pinned?.size).toBe(bytes.length);
  });

  test('what is pushed has the key and the metadata by which the Python client finds it', async () => {
    await push(randomBytes(2 * MEGABYTE), image('python', 'finds:this'));
    expect(await keys()).toContain('python/finds:this.sif');
    const { headers } = await bucket.request('HEAD', 'python/finds:this.sif');
    expect(headers).toMatchObject({
      'x-amz-meta-sizemb': '2',
      'x-amz-meta-client': 'sregistry',
      'x-amz-meta-type': 'container',
    });
  });

  test('images with other extensions, and without a tag, are images; the first of several counts', async () => {
    await put('mixed/a:1.simg', Buffer.from('a'));
    await put('mixed/b.img', Buffer.from('b'));
    await put('mixed/c:1.img', Buffer.from('img'));
    await put('mixed/c:1.sif', Buffer.from('sif'));
    await put('mixed/c:1.2.sif', Buffer.from('another'));
    await put('mixed/readme.txt', Buffer.from('text'));
    expect((await names('mixed')).sort()).toEqual(['a:1', 'b:latest', 'c:1', 'c:1.2']);
    expect(await resolved(image('mixed', 'a:1'))).toMatchObject({ extension: 'simg' });
    expect(await resolved(image('mixed', 'b:latest'))).toMatchObject({ extension: 'img' });
    expect((await read(await resolved(image('mixed', 'c:1')))).toString()).toBe('sif');
    const found = await Array.fromAsync(s3.search?.({ query: 'mixed/' }) ?? []);
    expect(found.map(({ name, extension }) => `${name.image}:${name.tag}.${extension}`).sort()).toEqual([
      'a:1.simg',
      'b:latest.img',
      'c:1.2.sif',
      'c:1.sif',
    ]);
  });

  test('a push replaces the object that is there, whatever its extension', async () => {
    await put('replaced/x:1.simg', Buffer.from('old'));
    const bytes = randomBytes(1000);
    await push(bytes, image('replaced', 'x:1'));
    expect((await keys()).filter((key) => key?.startsWith('replaced/'))).toEqual(['replaced/x:1.simg']);
    expect(await read(await resolved(image('replaced', 'x:1')))).toEqual(bytes);
  });

  test('annotations beyond 2 KiB lie in a sidecar, which is not listed and goes with the image', async () => {
    const annotations = { label: 'Zoë', inspect: '漢字 '.repeat(3000) };
    const to = image('annotated', 'large:1');
    await push(randomBytes(1000), to, { annotations });
    expect((await resolved(to)).annotations).toEqual(annotations);
    expect((await keys()).filter((key) => key?.startsWith('annotated/'))).toEqual([
      'annotated/large:1.sif',
      'annotated/large:1.sif.json',
    ]);
    expect(await names('annotated')).toEqual(['large:1']);

    const copy = (await s3.copy?.(await resolved(to), image('annotated', 'copied:1'))) as RemoteImage;
    expect(copy.annotations).toEqual(annotations);
    await s3.remove?.(copy);
    await push(randomBytes(1000), to);
    expect((await resolved(to)).annotations).toEqual({});
    expect((await keys()).filter((key) => key?.startsWith('annotated/'))).toEqual(['annotated/large:1.sif']);
  });

  test('a large image is sent in parts, each once, and a resumed push sends the rest', async () => {
    const bytes = randomBytes(33 * MEGABYTE);
    const source = file(bytes);
    const to = image('parts', 'large:1');
    let saved: string | undefined;
    const state: PushState = {
      load: () => (saved === undefined ? undefined : JSON.parse(saved)),
      save: (value) => {
        saved = JSON.stringify(value);
        if (Object.keys((value.etags as object) ?? {}).length === 2) controller.abort();
      },
    };
    const controller = new AbortController();
    const start = proxy.requests.length;
    const interrupted = s3.push?.(source, to, { resume: state, signal: controller.signal });
    await expect(interrupted).rejects.toMatchObject({ code: 'CANCELED' });
    const { etags } = JSON.parse(saved ?? '{}');
    expect(Object.keys(etags)).toHaveLength(2);

    const again = proxy.requests.length;
    const other = connect(name);
    const pushed = await other.backend.push?.(source, to, { resume: state });
    await other.backend.close?.();
    expect(
      createHash('sha256')
        .update(await read(pushed as RemoteImage))
        .digest('hex'),
    ).toBe(pushed?.digest?.slice(7));
    const partsIn = (from: number, end?: number) =>
      proxy.requests
        .slice(from, end)
        .map(({ url }) => /partNumber=(\d+)/.exec(url)?.[1])
        .filter((part) => part !== undefined);
    expect(partsIn(start, again).length).toBeGreaterThanOrEqual(2);
    expect(partsIn(again).filter((part) => part in etags)).toEqual([]);
    expect(pushed?.revision).toMatch(/-5$/);
    expect(JSON.parse(saved ?? '')).toEqual({});
  });

  test('a part that arrived while its push was killed is not sent again', async () => {
    const bytes = randomBytes(17 * MEGABYTE);
    const source = file(bytes);
    const key = 'parts/killed:1.sif';
    const upload = await createUpload(bucket, key, {});
    const part = (number: number, body: Buffer) =>
      putContent(
        bucket,
        key,
        { body, size: body.length, digests: digestsOf(body) },
        { query: { partNumber: number, uploadId: upload.id } },
      );
    await part(1, bytes.subarray(0, 8 * MEGABYTE));
    await part(2, randomBytes(8 * MEGABYTE));
    const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
    const target = bucket.endpoint.target;
    const saved = { target, key, digest, partSize: 8 * MEGABYTE, upload: upload.id, etags: {} };
    const start = proxy.requests.length;
    const pushed = await s3.push?.(source, image('parts', 'killed:1'), {
      resume: { load: () => saved, save: () => {} },
    });
    expect((await read(pushed as RemoteImage)).equals(bytes)).toBe(true);
    const sent = since(start).flatMap((request) => /partNumber=(\d+)/.exec(request)?.[1] ?? []);
    expect(sent.sort()).toEqual(['2', '3']);
  });

  test('an upload that is done is done, also when the answer that says so is lost', async () => {
    const bytes = randomBytes(17 * MEGABYTE);
    proxy.inject(cutAfter(0), {
      match: ({ method, url = '' }) => method === 'POST' && url.includes('uploadId='),
    });
    const pushed = await push(bytes, image('parts', 'lost:1'));
    expect((await read(pushed)).equals(bytes)).toBe(true);
  });

  test('a push that cannot go on leaves no parts behind', async () => {
    const to = image('parts', 'refused:1');
    proxy.inject((_request, response) => response.writeHead(403).end(), {
      match: ({ url = '' }) => url.includes('partNumber=2'),
      times: 10,
    });
    await expect(push(randomBytes(20 * MEGABYTE), to)).rejects.toMatchObject({ code: 'FORBIDDEN' });
    proxy.clear();
    expect(await Array.fromAsync(listUploads(bucket, 'parts/refused:1.sif'))).toEqual([]);
    expect(await s3.resolve(to)).toBeUndefined();
  });

  test('bytes that another upload of the same name left behind long ago are removed', async () => {
    const key = 'parts/orphan:1.sif';
    await createUpload(bucket, key, {});
    await createUpload(bucket, 'parts/orphan:1.sif.other', {});
    const start = proxy.requests.length;
    await push(randomBytes(17 * MEGABYTE), image('parts', 'orphan:1'));
    const left = await Array.fromAsync(listUploads(bucket, key));
    // moto says of every upload that it began in 2010; elsewhere this one is young, and stays.
    const isOld = left.length === 0;
    expect(since(start).some((request) => /^DELETE .*orphan%3A1\.sif\?uploadId=/.test(request))).toBe(isOld);
    expect(await Array.fromAsync(listUploads(bucket, `${key}.other`))).toHaveLength(1);
  });

  test('an image too large for one copy is copied in parts, with its metadata', async () => {
    const bytes = randomBytes(17 * MEGABYTE);
    const original = await push(bytes, image('copies', 'from:1'), { annotations: { label: 'x' } });
    const limits = { whole: 10 * MEGABYTE, part: 6 * MEGABYTE };
    const limited = storeBackend(bucketStore(bucket, limits), createLayout(), {
      name: 's3',
      driver: 's3',
      defaultCollection: '',
      http: () => bucket.http,
    });
    const copy = (await limited.copy?.(original, image('copies', 'to:1'))) as RemoteImage;
    expect(copy).toMatchObject({ size: bytes.length, digest: original.digest, annotations: { label: 'x' } });
    expect((await read(copy)).equals(bytes)).toBe(true);
    expect(copy.revision).toMatch(/-3$/);
  });

  test('a copy onto itself changes nothing', async () => {
    const original = await push(randomBytes(100), image('copies', 'same:1'));
    expect(await s3.copy?.(original, original.name)).toEqual(original);
  });

  test('of two pushes at the same time that may replace nothing one is refused, by the service', async () => {
    const to = image('absent', 'race:1');
    const isPut = ({ method, url = '' }: { method?: string | undefined; url?: string | undefined }) =>
      method === 'PUT' && url.endsWith('/absent/race%3A1.sif');
    // Both have looked before either is stored: the second to arrive goes first.
    let first: (() => void) | undefined;
    proxy.inject(
      (_request, response, forward) => {
        if (first === undefined) {
          first = forward;
          return;
        }
        response.on('close', first);
        forward();
      },
      { match: isPut, times: 2 },
    );
    const bytes = [randomBytes(1000), randomBytes(1000)];
    const long = 'x'.repeat(5000);
    const pushed = await Promise.allSettled(
      bytes.map((content, number) =>
        push(content, to, { ifAbsent: true, annotations: { long, number: String(number) } }),
      ),
    );
    const won = pushed.findIndex(({ status }) => status === 'fulfilled');
    expect(pushed[1 - won]).toMatchObject({ status: 'rejected', reason: { code: 'EXISTS' } });
    const found = await resolved(to);
    expect(await read(found)).toEqual(bytes[won]);
    expect(found.annotations).toEqual({ long, number: String(won) });
    await expect(push(randomBytes(10), to, { ifAbsent: true })).rejects.toMatchObject({ code: 'EXISTS' });
  });

  test('a push that may replace nothing is no obstacle to itself when its answer is lost', async () => {
    proxy.inject(cutAfter(0), {
      match: ({ method, url = '' }) => method === 'PUT' && url.includes('own%3A1'),
    });
    const bytes = randomBytes(1000);
    expect(await read(await push(bytes, image('absent', 'own:1'), { ifAbsent: true }))).toEqual(bytes);
  });

  test('a large push that may replace nothing spares what came there while its parts were sent', async () => {
    const to = image('absent', 'large:1');
    proxy.inject(
      (_request, _response, forward) => {
        put('absent/large:1.sif', Buffer.from('other')).then(() => forward());
      },
      { match: ({ url = '' }) => url.includes('partNumber=3') },
    );
    const pushing = push(randomBytes(17 * MEGABYTE), to, { ifAbsent: true });
    await expect(pushing).rejects.toMatchObject({ code: 'EXISTS' });
    expect(String(await read(await resolved(to)))).toBe('other');
    expect(await Array.fromAsync(listUploads(bucket, 'absent/large:1.sif'))).toEqual([]);
  });

  test('a listing of a collection asks for nothing but its own page', async () => {
    await put('deep/a/b/x:1.sif', Buffer.from('x'));
    const start = proxy.requests.length;
    expect(await names('deep/a')).toEqual(['b/']);
    const asked = since(start).filter((request) => request.includes('list-type'));
    expect(asked).toHaveLength(1);
    expect(asked[0]).toMatch(/prefix=deep%2Fa%2F&delimiter=%2F/);
  });

  test('a link ends when it is told to, within seven days', async () => {
    const shared = await push(randomBytes(1000), image('shared', 'x:1'));
    const link = new URL((await s3.share?.(shared, { expires: 90 })) ?? '');
    expect(link.searchParams.get('X-Amz-Expires')).toBe('90');
    expect(new URL((await s3.share?.(shared, {})) ?? '').searchParams.get('X-Amz-Expires')).toBe('604800');
    await expect(s3.share?.(shared, { expires: 604_801 })).rejects.toMatchObject({ code: 'USAGE' });
    await expect(s3.share?.(shared, { email: 'a@b.c' })).rejects.toMatchObject({ code: 'UNSUPPORTED' });
  });

  test('an image that was replaced since it was looked up is not removed', async () => {
    const to = image('removed', 'x:1');
    const before = await push(randomBytes(100), to);
    await push(randomBytes(100), to);
    await expect(s3.remove?.(before)).rejects.toMatchObject({ code: 'STALE' });
    expect(await s3.resolve(to)).toBeDefined();
  });

  test('a bucket that does not exist is an error that says how to make it', async () => {
    const { backend } = connect('sregistry-absent');
    const missing = { code: 'SETTINGS', hint: expect.stringContaining('aws s3 mb s3://sregistry-absent') };
    await expect(backend.check?.()).rejects.toMatchObject(missing);
    await expect(backend.resolve(image('a', 'b:1'))).rejects.toMatchObject(missing);
    await expect(Array.fromAsync(backend.list(''))).rejects.toMatchObject(missing);
    await expect(push(randomBytes(10), image('a', 'b:1'), {}, backend)).rejects.toMatchObject(missing);
    await backend.close?.();
  });

  test.each([
    ['a part that begins with a dot', { collection: '.git', image: 'x', tag: '1' }],
    ['a part that leads up', { collection: 'a/../b', image: 'x', tag: '1' }],
    ['more than a key may be', { collection: 'x'.repeat(1020), image: 'x', tag: '1' }],
  ])('a name with %s cannot be pushed', async (_what, to) => {
    await expect(push(randomBytes(10), to)).rejects.toMatchObject({ code: 'INVALID_NAME' });
  });

  test('a bucket that keeps versions gives each by its own name, and reads one that was replaced to its end', async () => {
    const { backend } = connect(await service.createBucket({ versioning: true }));
    const to = image('kept', 'x:1');
    const [old, young] = [randomBytes(1000), randomBytes(2000)];
    const first = await push(old, to, {}, backend);
    const second = await push(young, to, {}, backend);
    expect(first.revision).not.toMatch(/^[0-9a-f]{32}$/);
    expect((await resolved(to, backend)).revision).toBe(second.revision);
    expect(await names('kept', backend)).toEqual(['x:1']);
    for await (const entry of backend.list('kept')) expect(entry).toMatchObject({ extension: 'sif' });

    expect(await read(first, backend)).toEqual(old);
    for (const version of [first.revision, first.revision.toLowerCase()]) {
      const pinned = (await backend.resolve({ ...to, version })) as RemoteImage;
      expect(pinned).toMatchObject({ size: 1000, revision: first.revision, digest: first.digest });
      expect(await read(pinned, backend)).toEqual(old);
    }
    expect(await backend.resolve({ ...to, version: 'absent' })).toBeUndefined();
    expect((await backend.resolve({ ...to, version: second.digest ?? '' }))?.size).toBe(2000);
    expect(await backend.resolve({ ...to, version: first.digest ?? '' })).toBeUndefined();

    const copy = await backend.copy?.(
      (await backend.resolve({ ...to, version: first.revision })) as RemoteImage,
      to,
    );
    expect(await read(copy as RemoteImage, backend)).toEqual(old);
    await backend.remove?.(copy as RemoteImage);
    expect(await backend.resolve(to)).toBeUndefined();
    const hidden = await backend.resolve({ ...to, version: second.revision });
    expect(await read(hidden as RemoteImage, backend)).toEqual(young);
    await backend.remove?.(hidden as RemoteImage);
    expect(await backend.resolve({ ...to, version: second.revision })).toBeUndefined();
    await backend.close?.();
  });
});
