/** Pulling through the cache, from a real registry. */
import { readFileSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { entryFolder } from '../../src/cache/location.ts';
import { listCache, pin, prune, verify } from '../../src/client/cache.ts';
import { pull } from '../../src/client/pull.ts';
import { push } from '../../src/client/push.ts';
import { findImage, parseTarget } from '../../src/client/target.ts';
import { needs } from '../helpers/skip.ts';
import { startRegistry, type TestRegistry } from '../servers/docker-registry.ts';
import { startFakeHub } from '../servers/fake-hub.ts';
import { fixture, TemporaryHome } from './temporary.ts';

const SMALL = fixture('small-zstd.sif');
const URI = 'lab://demo/small:1';
const SIZE = readFileSync(SMALL).length;

needs({ registry: true })('an image of a registry', () => {
  let home: TemporaryHome;
  let registry: TestRegistry;

  /** Bytes of image layers that the registry has sent. */
  const bytesSent = () =>
    registry
      .log()
      .filter(({ method, path }) => method === 'GET' && path.includes('/blobs/'))
      .filter(({ bytes }) => bytes > 1000)
      .reduce((sum, { bytes }) => sum + bytes, 0);

  beforeEach(async () => {
    registry = await startRegistry();
    home = new TemporaryHome();
    home.configure({ lab: { driver: 'oci', base: registry.url } });
    await using session = await home.open();
    await push(session, SMALL, URI);
  });
  afterEach(async () => {
    home[Symbol.dispose]();
    await registry.remove();
  });

  test('is fetched once, however often it is pulled and whatever reads it.', async () => {
    await using session = await home.open();
    const progress = vi.fn();
    const { path } = await pull(session, URI, { progress });
    expect(await readFile(path)).toEqual(readFileSync(SMALL));
    expect(progress).toHaveBeenLastCalledWith(SIZE, SIZE);

    await pull(session, URI, { file: home.path('copy.sif') });
    const { backend, name } = await parseTarget(URI, session);
    const image = await findImage(session, { backend, name });
    expect(session.cachedBytes(backend, image)).toBe(SIZE);
    await vi.waitFor(() => expect(bytesSent()).toBe(SIZE), { timeout: 30_000 });
  });

  test('is in the library with what it says of itself, and under the digest that the registry states.', async () => {
    await using session = await home.open();
    const { image } = await pull(session, URI);
    const container = session.library.get('demo/small:1');
    expect(container).toMatchObject({ client: 'lab', url: URI, name: { version: image.digest?.slice(7) } });
    expect(session.library.labels({ key: 'Maintainer' })).toHaveLength(1);
  });

  test('that the cache has no room for is pulled past it.', async () => {
    await using session = await home.open({ cacheSize: '1M' });
    const { path } = await pull(session, URI, { file: home.path('copy.sif') });
    expect(await readFile(path)).toEqual(readFileSync(SMALL));
    expect(session.cache.bytes).toBeLessThanOrEqual(1024 * 1024);
  });

  test('is not pulled where the pull was interrupted before, and nothing of it is left.', async () => {
    await using session = await home.open();
    const file = home.path('copy.sif');
    await expect(pull(session, URI, { file, signal: AbortSignal.abort() })).rejects.toThrow();
    await expect(readFile(file)).rejects.toMatchObject({ code: 'ENOENT' });
    expect(session.library.images()).toEqual([]);
  });

  test('stays in the cache while it is pinned.', async () => {
    await using session = await home.open();
    await pull(session, URI, { noLibrary: true, file: home.path('copy.sif') });
    await pin(session, URI, true);
    expect(prune(session)).toEqual({ images: 0, layers: 0, bytes: 0 });
    expect(await listCache(session)).toMatchObject([
      { size: SIZE, bytes: SIZE, complete: true, pinned: true },
    ]);
    await pin(session, URI, false);
    expect(prune(session)).toMatchObject({ images: 1 });
    expect(await listCache(session)).toEqual([]);
  });

  test('leaves the cache only if it was not used for as long as is asked, and only as far as is asked.', async () => {
    await using session = await home.open();
    await pull(session, URI, { noLibrary: true, file: home.path('copy.sif') });
    expect(prune(session, { unusedFor: 3_600_000 })).toMatchObject({ images: 0 });
    expect(prune(session, { downTo: 1024 ** 3 })).toMatchObject({ images: 0 });
    expect(prune(session)).toMatchObject({ images: 1 });
  });

  test('is compared with its digest on request, and what is wrong is removed.', async () => {
    await using session = await home.open();
    await pull(session, URI, { noLibrary: true, file: home.path('copy.sif') });
    const results = async () => (await Array.fromAsync(verify(session))).map(({ result }) => result);
    expect(await results()).toEqual(['right']);
    const [{ key } = { key: '' }] = session.cache.list();
    rmSync(join(entryFolder(session.cache.root, key), 'data'));
    expect(await results()).toEqual(['wrong']);
    expect(await listCache(session)).toEqual([]);
  });
});

test('The version that a service has of an image stays its version in the library and in the name of its file.', async () => {
  await using hub = await startFakeHub();
  using home = new TemporaryHome();
  home.configure({ hub: { base: `${hub.url}/api` } });
  const version = hub.put('vsoch/hello-world:latest', readFileSync(SMALL));
  await using session = await home.open();
  await pull(session, 'hub://vsoch/hello-world');
  expect(session.library.get('vsoch/hello-world')?.name.version).toBe(version);

  home.env.SREGISTRY_DISABLE = '1';
  const cwd = vi.spyOn(process, 'cwd').mockReturnValue(home.folder);
  const { path } = await pull(session, 'hub://vsoch/hello-world');
  cwd.mockRestore();
  expect(path).toBe(home.path(`vsoch-hello-world:latest@${version}.sif`));
});
