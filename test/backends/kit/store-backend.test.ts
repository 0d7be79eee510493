/** What the kit promises of every store, on one in memory; the conformance suites hold it to real services. */
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { describe, expect, test } from 'vitest';
import type { Backend, PushOptions, RemoteImage } from '../../../src/backends/backend.ts';
import { createHttpClient } from '../../../src/backends/http.ts';
import { createLayout } from '../../../src/backends/kit/layout.ts';
import { storeBackend } from '../../../src/backends/kit/store-backend.ts';
import { SregistryError } from '../../../src/base/errors.ts';
import { temporaryFolder } from '../../helpers/temporary.ts';
import { LIMITS, type MemoryFile, type MemoryStore, memoryStore, sha256 } from './memory-store.ts';

const NAME = { collection: 'lab', image: 'tool', tag: '1.0' };
const KEY = 'lab/tool:1.0.sif';
const LONG = { short: 'yes', 'not/a header': 'x', script: 'line\n'.repeat(1000) };

const backendOf = (store: MemoryStore, newestVersion = false) =>
  storeBackend(store, createLayout({ longest: 200, newestVersion }), {
    name: 'memory',
    driver: 'memory',
    defaultCollection: '',
    http: () => createHttpClient(),
  }) as Required<Backend>;

function fileOf(bytes: Buffer) {
  const path = join(temporaryFolder(), 'image.sif');
  writeFileSync(path, bytes);
  return { path, size: bytes.length };
}

const push = (backend: Required<Backend>, bytes: Buffer, options: PushOptions = {}, name = NAME) =>
  backend.push(fileOf(bytes), name, options);
const read = async (backend: Backend, image: RemoteImage) => buffer(await backend.read(image, 0, image.size));
const found = async (backend: Backend, name: RemoteImage['name'] = NAME) =>
  (await backend.resolve(name)) as RemoteImage;
const search = (backend: Required<Backend>, query = '', labels = {}) =>
  Array.fromAsync(backend.search({ query, labels }));

const STORES = [
  ['whose files carry metadata', { metadata: LIMITS }],
  ['whose files carry one value of metadata', { metadata: { ...LIMITS, shape: 'json' as const } }],
  ['whose files carry none', {}],
  ['that lists folders only', { prefixes: false }],
] as const;

describe.each(STORES)('a store %s', (_what, options) => {
  test('gives back images with their digest and all of their annotations, and hides sidecars', async () => {
    const store = memoryStore(options);
    const backend = backendOf(store);
    const bytes = randomBytes(1000);
    await push(backend, bytes, { annotations: LONG });
    expect(await found(backend)).toMatchObject({
      digest: sha256(bytes),
      annotations: LONG,
      extension: 'sif',
    });
    expect([...store.files.keys()].sort()).toEqual([KEY, `${KEY}.json`]);
    expect(await Array.fromAsync(backend.list('lab'))).toMatchObject([{ kind: 'image', name: NAME }]);
    expect(await Array.fromAsync(backend.list(''))).toEqual([{ kind: 'collection', name: 'lab' }]);
    expect(await read(backend, await found(backend))).toEqual(bytes);
  });

  test('finds images by name and by labels', async () => {
    const backend = backendOf(memoryStore(options));
    await push(backend, randomBytes(10), { annotations: { LABEL: 'one' } });
    await push(backend, randomBytes(10), { annotations: { LABEL: 'two', ...LONG } }, { ...NAME, tag: '2.0' });
    expect((await search(backend, 'TOOL')).map(({ name }) => name.tag).sort()).toEqual(['1.0', '2.0']);
    expect((await search(backend, '', { LABEL: 'two' })).map(({ name }) => name.tag)).toEqual(['2.0']);
    expect((await search(backend, '', { script: LONG.script })).map(({ name }) => name.tag)).toEqual(['2.0']);
    expect(await search(backend, '', { LABEL: 'three' })).toEqual([]);
  });

  test('copies an image that was listed with its annotations, and onto itself does nothing', async () => {
    const store = memoryStore(options);
    const backend = backendOf(store);
    await push(backend, randomBytes(100), { annotations: LONG });
    const [entry] = await Array.fromAsync(backend.list('lab'));
    const image = entry?.kind === 'image' ? (entry.remote as RemoteImage) : await found(backend);
    const to = { ...NAME, collection: 'other' };
    expect(await backend.copy(image, to)).toMatchObject({ name: to, annotations: LONG });
    expect((await found(backend, to)).annotations).toEqual(LONG);
    const before = store.calls.length;
    expect(await backend.copy(image, NAME)).toEqual({ ...image, name: NAME });
    expect(store.calls.slice(before).filter((call) => !call.startsWith('stat'))).toEqual([]);
  });

  test('removes an image with its sidecar, and no other that took its place', async () => {
    const store = memoryStore(options);
    const backend = backendOf(store);
    const old = await push(backend, randomBytes(100), { annotations: LONG });
    const image = await push(backend, randomBytes(100), { annotations: LONG });
    await expect(backend.remove(old)).rejects.toMatchObject({ code: 'STALE' });
    await backend.remove(image);
    expect([...store.files.keys()]).toEqual([]);
    await expect(backend.remove(image)).resolves.toBeUndefined();
  });

  test('does not take the sidecar of another image', async () => {
    const store = memoryStore(options);
    const backend = backendOf(store);
    const image = await push(backend, randomBytes(100), { annotations: LONG });
    const { metadata = {} } = store.files.get(KEY) ?? {};
    const other = randomBytes(100);
    store.store(KEY, other, { ...metadata, ...('sha256' in metadata && { sha256: sha256(other).slice(7) }) });
    expect((await found(backend)).annotations).not.toHaveProperty('script');
    await expect(read(backend, image)).rejects.toMatchObject({ code: 'STALE' });
  });

  test('lets one of two pushes at the same time win, with its annotations, where nothing may be replaced', async () => {
    const backend = backendOf(memoryStore(options));
    const pushed = await Promise.allSettled(
      ['one', 'two'].map((by) =>
        push(backend, randomBytes(100), { ifAbsent: true, annotations: { ...LONG, by } }),
      ),
    );
    const refused = pushed.filter(({ status }) => status === 'rejected');
    expect(refused).toMatchObject([{ reason: { code: 'EXISTS' } }]);
    const won = pushed.findIndex(({ status }) => status === 'fulfilled');
    expect((await found(backend)).annotations).toEqual({ ...LONG, by: ['one', 'two'][won] });
    await expect(push(backend, randomBytes(10), { ifAbsent: true })).rejects.toMatchObject({
      code: 'EXISTS',
    });
  });
});

describe('an image that lies there under several keys', () => {
  test('is one image, that of the first of them, and stays where it is when it is pushed to', async () => {
    const store = memoryStore({ metadata: LIMITS });
    const backend = backendOf(store);
    store.store('lab/tool:1.0.simg', Buffer.from('simg'));
    store.store('lab/tool:1.0.img', Buffer.from('img'));
    expect(await Array.fromAsync(backend.list('lab'))).toMatchObject([{ remote: { extension: 'simg' } }]);
    expect(await search(backend)).toMatchObject([{ extension: 'simg' }]);
    await push(backend, Buffer.from('new'));
    expect([...store.files.keys()].sort()).toEqual(['lab/tool:1.0.img', 'lab/tool:1.0.simg']);
    await expect(push(backend, randomBytes(10), { ifAbsent: true })).rejects.toMatchObject({
      code: 'EXISTS',
    });
  });

  test('is found without a listing by asking for each', async () => {
    const store = memoryStore({ prefixes: false });
    store.store('lab/tool.img', Buffer.from('img'));
    expect(await found(backendOf(store), { ...NAME, tag: 'latest' })).toMatchObject({ extension: 'img' });
  });
});

test('a tag without a file of its own stands for the newest of its versions where the layout says so', async () => {
  const store = memoryStore({ metadata: LIMITS });
  store.store('lab/tool:1.0@a.sif', Buffer.from('old'));
  store.store('lab/tool:1.0@b.sif', Buffer.from('newer'));
  expect((await found(backendOf(store, true))).size).toBe('newer'.length);
  expect(await backendOf(store).resolve(NAME)).toBeUndefined();
  expect(await Array.fromAsync(backendOf(store, true).list('lab'))).toHaveLength(3);
  const pushing = push(backendOf(store, true), randomBytes(10), { ifAbsent: true });
  await expect(pushing).rejects.toMatchObject({ code: 'EXISTS' });
});

test('a version is a digest, or the revision where the store keeps no versions', async () => {
  const backend = backendOf(memoryStore({ metadata: LIMITS }));
  const image = await push(backend, randomBytes(10));
  for (const version of [image.digest, image.digest?.slice(7), image.revision])
    expect(await backend.resolve({ ...NAME, version })).toMatchObject({ revision: image.revision });
  expect(await backend.resolve({ ...NAME, version: 'other' })).toBeUndefined();
});

test('a sidecar that became needless is removed', async () => {
  const store = memoryStore({ metadata: LIMITS });
  const backend = backendOf(store);
  await push(backend, randomBytes(10), { annotations: LONG });
  await push(backend, randomBytes(10), { annotations: { short: 'yes' } });
  expect([...store.files.keys()]).toEqual([KEY]);
});

test.each(STORES)(
  'a push of the same bytes that fails tells nothing of them: a store %s',
  async (_what, options) => {
    const store = memoryStore(options);
    const bytes = randomBytes(100);
    await push(backendOf(store), bytes, { annotations: LONG });
    const failing = { ...store, put: async () => Promise.reject(new SregistryError('UNREACHABLE', 'away')) };
    const annotations = { script: 'other\n'.repeat(1000) };
    await expect(push(backendOf(failing), bytes, { annotations })).rejects.toMatchObject({
      code: 'UNREACHABLE',
    });
    expect((await found(backendOf(store))).annotations).toEqual(LONG);
  },
);

test('a leftover sidecar of the same bytes is not believed', async () => {
  const store = memoryStore({ metadata: LIMITS });
  const backend = backendOf(store);
  const bytes = randomBytes(100);
  await push(backend, bytes, { annotations: LONG });
  const leftover = store.files.get(`${KEY}.json`)?.bytes as Buffer;
  const annotations = { short: 'no', script: 'other\n'.repeat(1000) };
  await push(backend, bytes, { annotations });
  store.store(`${KEY}.json`, leftover);
  expect((await found(backend)).annotations).toEqual({ short: 'no' });
});

test('a sidecar of an earlier version, whose file names no hash, is believed', async () => {
  const store = memoryStore({ metadata: LIMITS });
  const backend = backendOf(store);
  await push(backend, randomBytes(100), { annotations: LONG });
  const { bytes, metadata } = store.files.get(KEY) as MemoryFile;
  store.store(KEY, bytes, { ...metadata, side: 'json' });
  expect((await found(backend)).annotations).toEqual(LONG);
});

test('a sidecar goes before its image, and after one that may replace nothing', async () => {
  const store = memoryStore({ metadata: LIMITS });
  const backend = backendOf(store);
  const puts = () => store.calls.splice(0).filter((call) => call.startsWith('put'));
  await push(backend, randomBytes(10), { annotations: LONG });
  expect(puts()).toEqual([`putSmall ${KEY}.json`, `put ${KEY}`]);
  const name = { ...NAME, tag: '2.0' };
  await push(backend, randomBytes(10), { annotations: LONG, ifAbsent: true }, name);
  expect(puts()).toEqual(['put lab/tool:2.0.sif', 'putSmall lab/tool:2.0.sif.json']);
});

test('other bytes than were sent are the error CORRUPT, and do not stay', async () => {
  const store = memoryStore({ metadata: LIMITS });
  const put = store.put;
  const damaged: MemoryStore = {
    ...store,
    put: async (key, file, options) => ({ ...(await put(key, file, options)), size: 1 }),
  };
  await expect(push(backendOf(damaged), randomBytes(10))).rejects.toMatchObject({ code: 'CORRUPT' });
  expect(store.files.size).toBe(0);
});

test('other bytes than were sent are the error CORRUPT even where they may not be removed', async () => {
  const store = memoryStore({ metadata: LIMITS });
  const refuse = async () => Promise.reject(new SregistryError('FORBIDDEN', 'no'));
  const lying: MemoryStore = {
    ...store,
    put: async (key, file, options) => ({ ...(await store.put(key, file, options)), size: 1 }),
    remove: refuse,
  };
  await expect(push(backendOf(lying), randomBytes(10))).rejects.toMatchObject({ code: 'CORRUPT' });
});

test('a copy of another size than its original is the error CORRUPT, and does not stay', async () => {
  const store = memoryStore({ metadata: LIMITS });
  const image = await push(backendOf(store), randomBytes(10));
  const { copy } = store as Required<MemoryStore>;
  const lying: MemoryStore = {
    ...store,
    copy: async (from, key, options) => ({ ...(await copy(from, key, options)), size: 1 }),
  };
  const copying = backendOf(lying).copy(image, { ...NAME, tag: '2.0' });
  await expect(copying).rejects.toMatchObject({ code: 'CORRUPT' });
  expect([...store.files.keys()]).toEqual([KEY]);
});

test('a push that fails leaves the image that it was to replace its annotations', async () => {
  const store = memoryStore({ metadata: LIMITS });
  const bytes = randomBytes(10);
  await push(backendOf(store), bytes, { annotations: LONG });
  const broken: MemoryStore = {
    ...store,
    put: async () => Promise.reject(new SregistryError('UNREACHABLE', 'no connection')),
  };
  const other = { ...LONG, by: 'other' };
  const pushing = push(backendOf(broken), randomBytes(10), { annotations: other });
  await expect(pushing).rejects.toMatchObject({ code: 'UNREACHABLE' });
  expect(await found(backendOf(store))).toMatchObject({ digest: sha256(bytes), annotations: LONG });
  const again = await push(backendOf(store), randomBytes(10), { annotations: other });
  expect((await found(backendOf(store))).annotations).toEqual(again.annotations);
});

test.each(['removal', 'push'])(
  'a %s does not take the sidecar that another push wrote meanwhile',
  async (what) => {
    const store = memoryStore({ metadata: LIMITS });
    const old = await push(backendOf(store), randomBytes(10), { annotations: LONG });
    const meanwhile = async () => {
      await push(backendOf(store), randomBytes(10), { annotations: { ...LONG, by: 'other' } });
    };
    const late: MemoryStore = {
      ...store,
      put: async (key, file, options) => {
        const stored = await store.put(key, file, options);
        await meanwhile();
        return stored;
      },
      remove: async (ref) => {
        await store.remove(ref);
        if (ref.key === KEY) await meanwhile();
      },
    };
    if (what === 'removal') await backendOf(late).remove(old);
    else await push(backendOf(late), randomBytes(10), { annotations: { short: 'yes' } });
    expect((await found(backendOf(store))).annotations).toEqual({ ...LONG, by: 'other' });
  },
);

test('a file that a listing shows twice is found once by a search', async () => {
  const store = memoryStore({ metadata: LIMITS });
  await push(backendOf(store), randomBytes(10));
  const { listPrefix } = store as Required<MemoryStore>;
  const repeating: MemoryStore = {
    ...store,
    listPrefix: async function* (prefix) {
      yield* listPrefix(prefix, undefined);
      yield* listPrefix(prefix, undefined);
    },
  };
  expect(await search(backendOf(repeating))).toHaveLength(1);
});

test('what a handle out of the catalog says is checked', async () => {
  const store = memoryStore();
  const backend = backendOf(store);
  const image = await push(backend, randomBytes(10));
  for (const handle of [
    {},
    { key: '../secret.sif', revision: 'r1' },
    { key: 'lab/notes.txt', revision: 'r1' },
    { key: KEY, revision: 7 },
  ]) {
    const damaged = { ...image, handle };
    await expect(backend.read(damaged, 0, 1)).rejects.toMatchObject({ code: 'STALE' });
    await expect(backend.remove(damaged)).rejects.toMatchObject({ code: 'STALE' });
    await expect(backend.copy(damaged, NAME)).rejects.toMatchObject({ code: 'STALE' });
  }
});

test.each(['a/../b', '.git', 'x'.repeat(300)])('a collection %s holds nothing', async (collection) => {
  const backend = backendOf(memoryStore());
  const name = { ...NAME, collection };
  await expect(push(backend, randomBytes(10), {}, name)).rejects.toMatchObject({ code: 'INVALID_NAME' });
  await expect(Array.fromAsync(backend.list(collection))).rejects.toMatchObject({ code: 'NOT_FOUND' });
  expect(await backend.resolve(name)).toBeUndefined();
});
