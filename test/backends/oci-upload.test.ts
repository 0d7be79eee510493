import { randomBytes } from 'node:crypto';
import { appendFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LRUCache } from 'lru-cache';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { createHttpClient } from '../../src/backends/http.ts';
import { createCatalog } from '../../src/backends/oci/catalog.ts';
import type { Repository } from '../../src/backends/oci/registries.ts';
import { pushFile, pushHashed, type UploadOptions } from '../../src/backends/oci/upload.ts';
import { hostPlatform } from '../../src/base/platform.ts';
import {
  digest,
  type FakeRegistry,
  type FakeRegistryOptions,
  startFakeRegistry,
} from '../servers/fake-registry.ts';

const BYTES = randomBytes(100_000);
const CHUNK = 30_000;

let folder: string;
let blob: { path: string; size: number; digest: string };
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sregistry-upload-'));
  blob = { path: join(folder, 'image.sif'), size: BYTES.length, digest: digest(BYTES) };
  await writeFile(blob.path, BYTES);
});
afterAll(() => rm(folder, { recursive: true }));

async function start(options?: FakeRegistryOptions): Promise<{ fake: FakeRegistry; repository: Repository }> {
  const fake = await startFakeRegistry(options);
  const http = createHttpClient({ base: fake.url, env: {}, stall: 5_000 });
  onTestFinished(() => fake.close());
  onTestFinished(() => http.close());
  const repository: Repository = {
    platform: hostPlatform(),
    soci: 'off',
    path: 'demo/x',
    host: new URL(fake.url).host,
    http,
    catalog: createCatalog(http, 'fake'),
    redirects: new Map(),
    holders: new LRUCache({ max: 10 }),
  };
  return { fake, repository };
}

const push = (repository: Repository, options?: UploadOptions) =>
  pushFile(repository, blob, { chunk: CHUNK, ...options });

/** Computes the digest while the file goes up. */
const pushAhead = (
  { path, size }: { path: string; size: number },
  repository: Repository,
  options?: UploadOptions,
) => pushFile(repository, { path, size }, { chunk: CHUNK, hashFirst: 0, ...options });

const stored = (fake: FakeRegistry) => fake.blobs.get(`demo/x@${blob.digest}`)?.equals(BYTES);

const ranges = (fake: FakeRegistry) =>
  fake.requests.filter(({ method }) => method === 'PATCH').map(({ headers }) => headers['content-range']);

/** Breaks the `nth` PATCH after so many bytes of it have been stored. */
function breakPatch(nth: number, after: number): FakeRegistryOptions['fault'] {
  let patches = 0;
  return (request: IncomingMessage) => {
    if (request.method !== 'PATCH' || ++patches !== nth) return false;
    let seen = 0;
    request.on('data', (chunk: Buffer) => {
      seen += chunk.length;
      if (seen >= after) request.socket.destroy();
    });
    return false;
  };
}

test('a file goes up in chunks, each stating its range', async () => {
  const { fake, repository } = await start();
  const seen: number[] = [];
  await push(repository, { progress: (done) => seen.push(done) });
  expect(stored(fake)).toBe(true);
  expect(ranges(fake)).toEqual(['0-29999', '30000-59999', '60000-89999', '90000-99999']);
  expect(seen).toEqual([...seen].sort((a, b) => a - b));
  expect(seen.at(-1)).toBe(BYTES.length);
});

test('a file of one byte, which a registry counts as it counts none', async () => {
  const { fake, repository } = await start();
  const path = join(folder, 'one');
  const byte = Buffer.from('1');
  await writeFile(path, byte);
  await pushFile(repository, { path, size: 1, digest: digest(byte) });
  expect(fake.blobs.get(`demo/x@${digest(byte)}`)).toEqual(byte);
});

test('chunks are as long as the registry wants them at least', async () => {
  const { fake, repository } = await start({ minChunk: 45_000 });
  await push(repository);
  expect(ranges(fake)).toEqual(['0-44999', '45000-89999', '90000-99999']);
});

test('after a break the registry says how far it got, and the push goes on from there', async () => {
  const { fake, repository } = await start({ fault: breakPatch(2, 1) });
  await push(repository);
  expect(stored(fake)).toBe(true);
  const [, broken = '', next = ''] = ranges(fake);
  expect(broken).toBe('30000-59999');
  expect(Number(next.split('-')[0])).toBeGreaterThan(30_000);
  expect(fake.requests.filter(({ method }) => method === 'POST')).toHaveLength(1);
});

test('an answer that is lost does not send its chunk twice', async () => {
  let patches = 0;
  const { fake, repository } = await start({
    fault: (request: IncomingMessage, response: ServerResponse) => {
      if (request.method === 'PATCH' && ++patches === 2) {
        response.writeHead = () => {
          request.socket.destroy();
          return response;
        };
      }
      return false;
    },
  });
  await push(repository);
  expect(stored(fake)).toBe(true);
  expect(ranges(fake)).toEqual(['0-29999', '30000-59999', '60000-89999', '90000-99999']);
});

test.each([
  { digestIs: 'known', pushIt: push },
  { digestIs: 'computed meanwhile', pushIt: (...args: Parameters<typeof push>) => pushAhead(blob, ...args) },
])(
  'a push that was interrupted is continued by another process, its digest $digestIs',
  async ({ pushIt }) => {
    let broken = true;
    const { fake, repository } = await start({
      fault: (request) => {
        if (!broken || request.method !== 'PATCH' || !request.headers['content-range']?.startsWith('60000-'))
          return false;
        request.socket.destroy();
        return true;
      },
    });
    let state: Record<string, unknown> | undefined;
    const resume = {
      load: () => state,
      save: (next: Record<string, unknown>) => (state = structuredClone(next)),
    };
    const controller = new AbortController();
    const { signal } = controller;
    const interrupted = pushIt(
      { ...repository, signal },
      {
        resume,
        progress: (done) => done > 60_000 && controller.abort(),
      },
    );
    await expect(interrupted).rejects.toMatchObject({ code: 'CANCELED' });
    broken = false;
    const before = ranges(fake).length;
    await pushIt(repository, { resume });
    expect(stored(fake)).toBe(true);
    expect(ranges(fake).slice(before)).toEqual(['60000-89999', '90000-99999']);
    expect(state).toEqual({});
  },
);

test('a state of another file, or of an upload that the registry forgot, starts anew', async () => {
  const { fake, repository } = await start();
  const base = { registry: repository.host, repository: 'demo/x', digest: blob.digest };
  const location = `${fake.url}/v2/demo/x/blobs/uploads/none`;
  for (const state of [
    { ...base, digest: 'sha256:other', session: { location, minChunk: 0 } },
    { ...base, session: { location, minChunk: 0 } },
    { ...base, session: { location: 'nonsense' } },
    { ...base, session: { location: 5 } },
    { ...base, session: 'nonsense' },
    // As versions before this one saved it.
    { ...base, location },
    { location: 5 },
  ]) {
    fake.blobs.clear();
    await push(repository, { resume: { load: () => state, save: () => {} } });
    expect(stored(fake)).toBe(true);
  }
});

test('an upload that the registry gives up in the middle starts again', async () => {
  let patches = 0;
  const { fake, repository } = await start({
    fault: (request) => {
      if (request.method === 'PATCH' && ++patches === 3) fake.uploads.clear();
      return false;
    },
  });
  await push(repository);
  expect(stored(fake)).toBe(true);
  expect(fake.requests.filter(({ method }) => method === 'POST')).toHaveLength(2);
});

test('a closing answer that is lost is no failure if the blob is there', async () => {
  const { fake, repository } = await start({
    fault: (request, response) => {
      if (request.method === 'PUT')
        response.writeHead = () => {
          request.socket.destroy();
          return response;
        };
      return false;
    },
  });
  await push(repository);
  expect(stored(fake)).toBe(true);
});

test('a file that is not what its digest says is CORRUPT, and nothing is stored', async () => {
  const { fake, repository } = await start();
  const other = { ...blob, digest: digest(Buffer.from('other')) };
  await expect(pushFile(repository, other)).rejects.toMatchObject({ code: 'CORRUPT' });
  expect(fake.blobs.size).toBe(0);
});

test('a blob that is there with another size is CORRUPT', async () => {
  const { fake, repository } = await start();
  fake.blobs.set(`demo/x@${blob.digest}`, Buffer.from('short'));
  await expect(push(repository)).rejects.toMatchObject({ code: 'CORRUPT' });
});

test('a file that cannot be read is said so, and not blamed on the registry', async () => {
  const { repository } = await start();
  const gone = { ...blob, path: join(folder, 'gone.sif') };
  await expect(pushFile(repository, gone)).rejects.toMatchObject({
    code: 'NOT_FOUND',
    message: expect.stringContaining('gone.sif'),
  });
});

test('a registry that has gone fails the push as UNREACHABLE', async () => {
  const { fake, repository } = await start({
    fault: (request) => {
      if (request.method === 'PATCH') void fake.close();
      return request.method === 'PATCH';
    },
  });
  await expect(push(repository)).rejects.toMatchObject({ code: 'UNREACHABLE' });
});

test('the upload of a file whose digest is not known begins at once, and is closed with its digest', async () => {
  const { fake, repository } = await start();
  expect(await pushAhead(blob, repository)).toBe(blob.digest);
  expect(stored(fake)).toBe(true);
  expect(fake.requests[0]).toMatchObject({ method: 'POST' });
});

test('a small file whose digest is not known is sent only if the registry does not have it', async () => {
  const { fake, repository } = await start();
  fake.blobs.set(`demo/x@${blob.digest}`, BYTES);
  const { path, size } = blob;
  expect(await pushFile(repository, { path, size })).toBe(blob.digest);
  expect(fake.requests.map(({ method }) => method)).toEqual(['HEAD']);
});

test.each([
  { has: 'holds', holder: 'demo/x' },
  { has: 'mounts', holder: 'demo/other' },
])('an upload ends when its digest is known and the registry $has the blob', async ({ holder }) => {
  let known: string | undefined;
  let patches = 0;
  const { fake, repository } = await start({
    fault: ({ method }) => {
      if (method === 'PATCH' && ++patches === 2) known = blob.digest;
      return false;
    },
  });
  fake.blobs.set(`${holder}@${blob.digest}`, BYTES);
  repository.holders.set(blob.digest, holder);
  const hash = {
    get known() {
      return known;
    },
    revision: 'any',
    get: async () => blob.digest,
    [Symbol.asyncDispose]: async () => {},
  };
  expect(await pushHashed(repository, { file: blob, hash, chunk: CHUNK })).toBe(blob.digest);
  expect(stored(fake)).toBe(true);
  expect(ranges(fake)).toEqual(['0-29999', '30000-59999']);
  expect(fake.uploads.size).toBe(0);
});

test.each([
  { how: 'is overwritten', change: (path: string) => writeFileSync(path, randomBytes(BYTES.length)) },
  { how: 'grows', change: (path: string) => appendFileSync(path, 'more') },
])('a file that $how while it is pushed is CORRUPT, and nothing is stored', async ({ change }) => {
  const path = join(folder, 'changing.sif');
  await writeFile(path, BYTES);
  let patches = 0;
  const { fake, repository } = await start({
    fault: ({ method }) => {
      if (method === 'PATCH' && ++patches === 2) change(path);
      return false;
    },
  });
  let state: Record<string, unknown> | undefined;
  const resume = { load: () => state, save: (next: Record<string, unknown>) => (state = next) };
  const pushed = pushAhead({ path, size: BYTES.length }, repository, { resume });
  await expect(pushed).rejects.toMatchObject({ code: 'CORRUPT' });
  expect(fake.blobs.size).toBe(0);
  expect(state).toEqual({});
});

test('a file that was replaced after its push was interrupted is sent from its beginning', async () => {
  const { fake, repository } = await start();
  const state = {
    registry: repository.host,
    repository: 'demo/x',
    revision: 'of another file',
    session: { location: `${fake.url}/v2/demo/x/blobs/uploads/none`, minChunk: 0 },
    sent: 60_000,
  };
  await pushAhead(blob, repository, { resume: { load: () => state, save: () => {} } });
  expect(stored(fake)).toBe(true);
  expect(fake.requests[0]).toMatchObject({ method: 'POST' });
});
