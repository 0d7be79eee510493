import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { Backend, PushOptions, RemoteImage } from '../../src/backends/backend.ts';
import { Bucket } from '../../src/backends/gcs/bucket.ts';
import gcs from '../../src/backends/gcs/index.ts';
import type { ImageName } from '../../src/image/name.ts';
import { type FakeGcs, type FakeGcsOptions, startFakeGcs } from '../servers/fake-gcs.ts';
import { cutAfter, damageUpload, startFaultProxy } from '../servers/fault-proxy.ts';
import { serviceAccount, workloadIdentity } from '../servers/google-credentials.ts';

type Options = Parameters<typeof gcs.create>[0]['options'];

const MEBIBYTE = 1024 * 1024;
const NAME: ImageName = { collection: 'vsoch', image: 'hello-world', tag: 'latest' };
const OBJECT = 'vsoch/hello-world:latest.sif';

let folder: string;
let service: FakeGcs;
const opened: Backend[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sregistry-gcs-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));
afterEach(async () => {
  for (const backend of opened.splice(0)) await backend.close?.();
  await service?.close();
});

const NO_OPTIONS: Options = {
  bucket: 'images',
  base: undefined,
  credentials: undefined,
  private: true,
  anonymous: false,
  project: undefined,
};

async function start(options: FakeGcsOptions = {}, more: Partial<Options> = {}): Promise<Required<Backend>> {
  service = await startFakeGcs(options);
  return connect(more);
}

function connect(more: Partial<Options> = {}): Required<Backend> {
  const options = { ...NO_OPTIONS, base: service.url, ...more };
  const backend = gcs.create({ name: 'gcs', options, env: { SREGISTRY_TIMEOUT: '10' } });
  opened.push(backend);
  return backend as Required<Backend>;
}

let files = 0;
async function file(bytes: Buffer) {
  files += 1;
  const path = join(folder, `image-${files}.sif`);
  await writeFile(path, bytes);
  return { path, size: bytes.length };
}

async function push(backend: Required<Backend>, bytes: Buffer, options: PushOptions = {}, name = NAME) {
  return backend.push(await file(bytes), name, options);
}

const read = async (backend: Backend, image: RemoteImage) => buffer(await backend.read(image, 0, image.size));
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
const shown = async (backend: Backend, collection: string) =>
  (await Array.fromAsync(backend.list(collection))).map((entry) =>
    entry.kind === 'collection'
      ? `${entry.name}/`
      : `${entry.name.image}:${entry.name.tag}${entry.name.version ? '@' : ''}`,
  );

/** As the Python client stores it: the sha256 is the version, in the name and in the metadata. */
function putAsPython(bytes: Buffer, tag = 'latest') {
  const version = sha256(bytes);
  const uri = `vsoch/hello-world:${tag}@${version}`;
  const names = { collection: 'vsoch', image: 'hello-world', tag, version, uri, storage: `${uri}.sif` };
  service.put(`${uri}.sif`, bytes, { ...names, type: 'container', MAINTAINER: 'vanessasaur' });
  return version;
}

describe('images of the Python client', () => {
  test('are listed by their tag and by their version, and a tag stands for the newest', async () => {
    const backend = await start();
    const old = putAsPython(Buffer.from('old'));
    const version = putAsPython(Buffer.from('newer'));
    expect(await shown(backend, 'vsoch')).toEqual([
      'hello-world:latest',
      'hello-world:latest@',
      'hello-world:latest@',
    ]);
    const image = (await backend.resolve(NAME)) as RemoteImage;
    expect(image).toMatchObject({ digest: `sha256:${version}`, annotations: { MAINTAINER: 'vanessasaur' } });
    expect(await read(backend, image)).toEqual(Buffer.from('newer'));
    expect(await backend.resolve({ ...NAME, version: old })).toMatchObject({
      size: 3,
      digest: `sha256:${old}`,
    });
    expect(await backend.resolve({ ...NAME, version: 'f'.repeat(64) })).toBeUndefined();
    expect(await Array.fromAsync(backend.search({ query: 'hello' }))).toHaveLength(2);
  });

  test('are found by it where this client pushed them: type, uri and the parts of the name are in the metadata', async () => {
    const backend = await start();
    const bytes = randomBytes(1000);
    await push(backend, bytes, { annotations: { MAINTAINER: 'vanessasaur' } });
    expect([...service.objects.keys()]).toEqual([OBJECT]);
    expect(service.objects.get(OBJECT)?.resource.metadata).toEqual({
      type: 'container',
      client: 'sregistry',
      collection: 'vsoch',
      image: 'hello-world',
      tag: 'latest',
      version: sha256(bytes),
      sha256: sha256(bytes),
      uri: `vsoch/hello-world:latest@${sha256(bytes)}`,
      storage: OBJECT,
      MAINTAINER: 'vanessasaur',
    });
  });

  test('come second to an object that has the tag alone', async () => {
    const backend = await start();
    await push(backend, Buffer.from('the tag itself'));
    putAsPython(Buffer.from('pushed later'));
    expect(await shown(backend, 'vsoch')).toEqual(['hello-world:latest', 'hello-world:latest@']);
    expect((await backend.resolve(NAME))?.size).toBe('the tag itself'.length);
  });

  test('are found one by one by those who may not list', async () => {
    const backend = await start({ hidden: true });
    service.put('vsoch/hello-world:latest.img', Buffer.from('an old extension'));
    expect(await backend.resolve(NAME)).toMatchObject({ size: 16, extension: 'img' });
    expect(await backend.resolve({ ...NAME, tag: 'other' })).toBeUndefined();
  });
});

describe('annotations', () => {
  const LONG = { deffile: 'Bootstrap: docker\n'.repeat(1000), version: '1.2', Zoë: '漢字', short: 'yes' };

  test('that metadata cannot hold are in a sidecar, and come back', async () => {
    const backend = await start();
    await push(backend, randomBytes(100), { annotations: LONG });
    expect([...service.objects.keys()].sort()).toEqual([OBJECT, `${OBJECT}.json`]);
    expect(service.objects.get(OBJECT)?.resource.metadata).toMatchObject({
      short: 'yes',
      side: expect.stringMatching(/^json:[0-9a-f]{32}$/),
    });
    expect((await backend.resolve(NAME))?.annotations).toEqual(LONG);
    expect(await shown(backend, 'vsoch')).toEqual(['hello-world:latest']);
    const found = await Array.fromAsync(backend.search({ query: '', labels: { version: '1.2' } }));
    expect(found).toMatchObject([{ annotations: LONG }]);
  });

  test('of another image that were left behind are not taken', async () => {
    const backend = await start();
    await push(backend, randomBytes(100), { annotations: LONG });
    const bytes = randomBytes(100);
    service.put(OBJECT, bytes, { type: 'container', sha256: sha256(bytes), side: 'json', short: 'no' });
    expect((await backend.resolve(NAME))?.annotations).toEqual({ short: 'no' });
  });

  test('go when the image does, and stay behind no new one', async () => {
    const backend = await start();
    await push(backend, randomBytes(100), { annotations: LONG });
    const image = await push(backend, randomBytes(100));
    expect([...service.objects.keys()]).toEqual([OBJECT]);
    await push(backend, randomBytes(100), { annotations: LONG });
    await expect(backend.remove(image)).rejects.toMatchObject({ code: 'STALE' });
    await backend.remove((await backend.resolve(NAME)) as RemoteImage);
    expect(service.objects.size).toBe(0);
  });

  test('go along with a copy', async () => {
    const backend = await start({ rewriteStep: 50 });
    const image = await push(backend, randomBytes(200), { annotations: LONG });
    const to = { ...NAME, tag: 'copy' };
    await backend.copy(image, to);
    expect((await backend.resolve(to))?.annotations).toEqual(LONG);
    expect(service.requests.filter(({ url }) => url.includes('rewriteToken='))).toHaveLength(3);
  });
});

describe('a generation', () => {
  test('that has been replaced is STALE to read and to copy', async () => {
    const backend = await start();
    const image = await push(backend, randomBytes(1000));
    await push(backend, randomBytes(1000));
    await expect(read(backend, image)).rejects.toMatchObject({ code: 'STALE' });
    await expect(backend.copy(image, { ...NAME, tag: 'copy' })).rejects.toMatchObject({ code: 'STALE' });
  });

  test('that the bucket keeps is read to its end, and found by its number; the current one also by its digest', async () => {
    const backend = await start({ versioned: true });
    const bytes = randomBytes(1000);
    const image = await push(backend, bytes);
    const now = await push(backend, randomBytes(500));
    expect(await read(backend, image)).toEqual(bytes);
    expect(await backend.resolve({ ...NAME, version: image.revision })).toMatchObject({ size: 1000 });
    expect(await backend.resolve({ ...NAME, version: now.digest })).toMatchObject({ size: 500 });
    expect(await backend.resolve({ ...NAME, version: image.digest })).toBeUndefined();
  });
});

describe('a large push', () => {
  const bytes = randomBytes(40 * MEBIBYTE);
  const chunks = () =>
    service.requests.flatMap(({ method, headers }) =>
      method === 'PUT' ? (headers['content-range'] ?? []) : [],
    );
  const state = () => {
    let saved = {};
    return { load: () => saved, save: (now: object) => (saved = now) };
  };

  test('goes in chunks of 16 MiB', async () => {
    const backend = await start();
    await push(backend, bytes);
    expect(chunks()).toEqual([
      'bytes 0-16777215/41943040',
      'bytes 16777216-33554431/41943040',
      'bytes 33554432-41943039/41943040',
    ]);
  });

  test('asks what has arrived when a connection breaks, and sends the rest', async () => {
    let broken = false;
    const backend = await start({
      fault: (request) => {
        if (broken || !request.headers['content-range']?.startsWith('bytes 16777216-')) return false;
        broken = true;
        let received = 0;
        request.on('data', (chunk) => {
          received += chunk.length;
          if (received > 5 * MEBIBYTE) request.destroy();
        });
        return false;
      },
    });
    expect((await read(backend, await push(backend, bytes))).equals(bytes)).toBe(true);
    expect(chunks()[2]).toBe('bytes */41943040');
    const start2 = Number(/\d+/.exec(chunks()[3] ?? '')?.[0]);
    expect(start2).toBeGreaterThanOrEqual(16 * MEBIBYTE + 4 * MEBIBYTE);
  });

  test('whose last answer is lost is done all the same, once', async () => {
    let lost = false;
    const backend = await start({
      fault: (request, response) => {
        if (lost || !request.headers['content-range']?.startsWith('bytes 33554432-')) return false;
        lost = true;
        response.writeHead = () => {
          response.destroy();
          return response;
        };
        return false;
      },
    });
    const image = await push(backend, bytes);
    expect(image.size).toBe(bytes.length);
    expect((await backend.resolve(NAME))?.revision).toBe(image.revision);
    expect(chunks().slice(3)).toEqual(['bytes */41943040']);
  });

  test('begins anew when the service has given its session up', async () => {
    const backend = await start();
    const resume = state();
    const controller = new AbortController();
    const progress = (done: number) => done > 17 * MEBIBYTE && controller.abort();
    const pushing = push(backend, bytes, { resume, progress, signal: controller.signal });
    await expect(pushing).rejects.toMatchObject({ code: 'CANCELED' });
    service.sessions.clear();
    await push(backend, bytes, { resume });
    expect(chunks().filter((range) => range.startsWith('bytes 0-'))).toHaveLength(2);
    expect(service.objects.get(OBJECT)?.bytes.equals(bytes)).toBe(true);
    expect(resume.load()).toEqual({});
  });

  test('of bytes that were damaged on the way is refused by the service, and the image that is there stays', async () => {
    const backend = await start();
    const before = await push(backend, Buffer.from('before'));
    await using proxy = await startFaultProxy(service.url);
    proxy.inject(damageUpload, {
      match: ({ headers }) => headers['content-range']?.startsWith('bytes 0-') === true,
    });
    const pushing = connect({ base: proxy.url }).push(await file(bytes), NAME);
    await expect(pushing).rejects.toMatchObject({ code: 'CORRUPT' });
    expect(await backend.resolve(NAME)).toEqual(before);
  });

  test('of which a service that checks nothing has stored other bytes is found out, and they are removed', async () => {
    await start({ careless: true });
    await using proxy = await startFaultProxy(service.url);
    proxy.inject(damageUpload, {
      match: ({ headers }) => headers['content-range']?.startsWith('bytes 0-') === true,
    });
    const pushing = connect({ base: proxy.url }).push(await file(bytes), NAME);
    await expect(pushing).rejects.toMatchObject({ code: 'CORRUPT' });
    expect(service.objects.size).toBe(0);
  });
});

describe('a push that may replace nothing', () => {
  test.each([
    ['small', 1000],
    ['large', 20 * MEBIBYTE],
  ])('of %s images: one of two at the same time is refused, by the service', async (_what, size) => {
    await start();
    await using proxy = await startFaultProxy(service.url);
    // Neither is stored before both have looked and found nothing.
    const both = Promise.withResolvers<void>();
    let arrived = 0;
    proxy.inject(
      (_request, _response, forward) => {
        arrived += 1;
        if (arrived === 2) both.resolve();
        void both.promise.then(() => forward());
      },
      { match: ({ url }) => url?.includes('ifGenerationMatch=0') === true, times: 2 },
    );
    const backend = connect({ base: proxy.url });
    const bytes = [randomBytes(size), randomBytes(size)];
    const script = 'line\n'.repeat(100);
    const pushed = await Promise.allSettled(
      bytes.map((content, number) =>
        push(backend, content, { ifAbsent: true, annotations: { script, number: String(number) } }),
      ),
    );
    const won = pushed.findIndex(({ status }) => status === 'fulfilled');
    expect(pushed[1 - won]).toMatchObject({ status: 'rejected', reason: { code: 'EXISTS' } });
    expect(arrived).toBe(2);
    const image = (await backend.resolve(NAME)) as RemoteImage;
    expect((await read(backend, image)).equals(bytes[won] as Buffer)).toBe(true);
    expect(image.annotations).toEqual({ script, number: String(won) });
    const again = push(backend, randomBytes(10), { ifAbsent: true });
    await expect(again).rejects.toMatchObject({ code: 'EXISTS' });
  });

  test('is no obstacle to itself when its answer is lost', async () => {
    await start();
    await using proxy = await startFaultProxy(service.url);
    proxy.inject(cutAfter(0), { match: ({ method }) => method === 'POST' });
    const bytes = randomBytes(1000);
    const image = await connect({ base: proxy.url }).push(await file(bytes), NAME, { ifAbsent: true });
    expect(await read(connect(), image)).toEqual(bytes);
  });
});

describe('access', () => {
  test('to a pushed image is private unless the settings say otherwise', async () => {
    const backend = await start();
    await push(backend, Buffer.from('private'));
    expect(service.objects.get(OBJECT)?.acl).toEqual([]);
    const image = await push(connect({ private: false }), Buffer.from('public'));
    expect(service.objects.get(OBJECT)).toMatchObject({
      acl: ['allUsers'],
      resource: { cacheControl: 'no-cache' },
    });
    const link = await connect({ private: false }).share(image, {});
    expect(link).toBe(`${service.url}/images/vsoch/hello-world%3Alatest.sif`);
    expect(await (await fetch(link)).text()).toBe('public');
  });

  test('that a bucket gives as a whole cannot be given to one object, and the error says what can be done', async () => {
    const backend = await start({ uniform: true }, { private: false });
    await expect(push(backend, Buffer.from('x'))).rejects.toMatchObject({
      code: 'SETTINGS',
      hint: expect.stringContaining('gcloud storage buckets add-iam-policy-binding gs://images'),
    });
  });

  test('is given by a link signed with the key of a service account, for as long as told', async () => {
    const credentials = join(folder, 'account.json');
    const { email, publicKey } = await serviceAccount(credentials);
    const backend = await start({ keys: { [email]: publicKey } }, { credentials });
    const bytes = randomBytes(1000);
    const image = await push(connect(), bytes, {}, { ...NAME, collection: "it's (here)/+&é" });
    const link = new URL(await backend.share(image, { expires: 3600 }));
    expect(Buffer.from(await (await fetch(link)).arrayBuffer())).toEqual(bytes);
    expect(link.searchParams.get('X-Goog-Expires')).toBe('3600');
    link.searchParams.set('X-Goog-Expires', '7200');
    expect((await fetch(link)).status).toBe(403);
    await expect(backend.share(image, { expires: 8 * 24 * 3600 })).rejects.toMatchObject({ code: 'USAGE' });
  });

  test('without a key is shared with a person only', async () => {
    const backend = await start();
    const image = await push(backend, Buffer.from('x'));
    await expect(backend.share(image, {})).rejects.toMatchObject({ code: 'UNSUPPORTED' });
    const link = await backend.share(image, { email: 'zoe@example.org' });
    expect(link).toBe('https://storage.cloud.google.com/images/vsoch/hello-world%3Alatest.sif');
    expect(service.objects.get(OBJECT)?.acl).toEqual(['user-zoe@example.org']);
  });

  test('of a person is a condition in the policy where a bucket has no access lists, or where it shall end', async () => {
    const backend = await start({ uniform: true });
    service.policy.bindings.push({ role: 'roles/storage.admin', members: ['user:owner@example.org'] });
    const image = await push(backend, Buffer.from('x'));
    await backend.share(image, { email: 'zoe@example.org' });
    await backend.share(image, { email: 'ann@example.org', expires: 60 });
    const resource = `resource.name == "projects/_/buckets/images/objects/${OBJECT}"`;
    expect(service.policy.bindings).toEqual([
      { role: 'roles/storage.admin', members: ['user:owner@example.org'] },
      {
        role: 'roles/storage.objectViewer',
        members: ['user:zoe@example.org'],
        condition: { title: 'shared by sregistry', expression: resource },
      },
      {
        role: 'roles/storage.objectViewer',
        members: ['user:ann@example.org'],
        condition: {
          title: 'shared by sregistry',
          expression: expect.stringMatching(/ && request\.time < timestamp\("20..-.*Z"\)$/),
        },
      },
    ]);
  });
});

describe('settings', () => {
  test('a bucket that is not there is an error with the command that makes it, and no absence', async () => {
    await start();
    const backend = connect({ bucket: 'elsewhere', project: 'demo' });
    const error = {
      code: 'SETTINGS',
      hint: expect.stringContaining('gcloud storage buckets create gs://elsewhere --project=demo'),
    };
    await expect(backend.resolve(NAME)).rejects.toMatchObject(error);
    await expect(Array.fromAsync(backend.list(''))).rejects.toMatchObject(error);
    await expect(backend.check()).rejects.toMatchObject(error);
    await expect(push(backend, Buffer.from('x'))).rejects.toMatchObject(error);
  });

  test('a bucket whose requester pays is named the project, once it has asked', async () => {
    await start({ requesterPays: 'demo' });
    await expect(connect().check()).rejects.toMatchObject({
      code: 'SETTINGS',
      hint: expect.stringContaining('project='),
    });
    const backend = connect({ project: 'demo' });
    const bytes = randomBytes(9 * MEBIBYTE);
    expect((await read(backend, await push(backend, bytes))).equals(bytes)).toBe(true);
    const before = service.requests.length;
    await backend.resolve(NAME);
    expect(service.requests.length - before).toBe(1);
  });

  test.each(['', 'a', 'Upper', '../x', 'a/b'])('the name %j is none of a bucket', (bucket) => {
    expect(() => gcs.create({ name: 'gcs', options: { ...NO_OPTIONS, bucket }, env: {} })).toThrow(
      /not a valid bucket name/,
    );
  });

  test('STORAGE_EMULATOR_HOST is asked without credentials, unless an address is set', async () => {
    const credentials = join(folder, 'identity.json');
    service = await startFakeGcs();
    await workloadIdentity(folder, credentials, service.url);
    const env = { STORAGE_EMULATOR_HOST: new URL(service.url).host };
    const backend = gcs.create({ name: 'gcs', options: { ...NO_OPTIONS, credentials }, env });
    opened.push(backend);
    await backend.check?.();
    expect(service.requests.map(({ headers }) => headers.authorization)).toEqual([undefined]);
    await connect({ credentials }).check();
    expect(service.requests.at(-1)?.headers.authorization).toMatch(/^Bearer ya29/);
  });

  test('tokens do not go in the clear to another machine, nor unasked to a server on this one', async () => {
    const credentials = join(folder, 'identity.json');
    const headers = async (options: Partial<Options>) => {
      const bucket = new Bucket({ name: 'gcs', options: { ...NO_OPTIONS, ...options } as never, env: {} });
      opened.push({ close: () => bucket.close() } as Backend);
      return bucket.credentials.authorize();
    };
    expect(await headers({ base: 'http://gcs.example.org', credentials })).toEqual({});
    expect(await headers({ base: 'http://localhost:9199' })).toEqual({});
  });

  test('credentials that are none are an error that says so', async () => {
    const credentials = join(folder, 'broken.json');
    await writeFile(credentials, 'no JSON');
    const backend = await start({}, { credentials });
    await expect(backend.check()).rejects.toMatchObject({
      code: 'SETTINGS',
      hint: expect.stringContaining('gcloud auth'),
    });
    await expect(connect({ credentials: '/nonexistent' }).check()).rejects.toMatchObject({
      code: 'SETTINGS',
    });
  });

  test('a token service that does not answer is UNREACHABLE, one that refuses UNAUTHORIZED', async () => {
    const credentials = join(folder, 'identity.json');
    const backend = await start(
      {
        fault: (request, response) =>
          request.url === '/v1/token' && !!response.writeHead(400).end('{"error":"invalid_grant"}'),
      },
      { credentials },
    );
    await workloadIdentity(folder, credentials, service.url);
    await expect(backend.check()).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
    await workloadIdentity(folder, credentials, 'http://127.0.0.1:1');
    await expect(connect({ credentials }).check()).rejects.toMatchObject({ code: 'UNREACHABLE' });
  });
});

test('an object that is stored compressed is shown, and cannot be read', async () => {
  const backend = await start();
  service.put(OBJECT, Buffer.from('x'), {}, { contentEncoding: 'gzip' });
  const image = (await backend.resolve(NAME)) as RemoteImage;
  expect(image.unpresentable).toContain('gzip');
  await expect(backend.read(image, 0, 1)).rejects.toMatchObject({ code: 'NOT_PRESENTABLE' });
});

test('an empty Content-Encoding, as the emulator of Firebase sends it, is none', async () => {
  const backend = await start();
  service.put(OBJECT, Buffer.from('hello'), {}, { contentEncoding: '' });
  expect(await read(backend, (await backend.resolve(NAME)) as RemoteImage)).toEqual(Buffer.from('hello'));
});

test('a folder of ten thousand images is ten requests, and one of its neighbours one', async () => {
  const backend = await start();
  const object = service.put('many/x:1.sif', Buffer.from('x'));
  for (let number = 1; number < 10_000; number++) service.objects.set(`many/x${number}:1.sif`, object);
  service.put('few/x:1.sif', Buffer.from('x'));
  expect(await Array.fromAsync(backend.list('many'))).toHaveLength(10_000);
  expect(service.requests).toHaveLength(10);
  expect(await shown(backend, 'few')).toEqual(['x:1']);
  expect(service.requests).toHaveLength(11);
});
