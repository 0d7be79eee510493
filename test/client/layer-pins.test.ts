/** Layers in the cache as their user sees and keeps them: by the images that have them. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, onTestFinished, test } from 'vitest';
import { cacheUsage, listCache, pin, prune, verify } from '../../src/client/cache.ts';
import { isLayered } from '../../src/client/layered-images.ts';
import { pull } from '../../src/client/pull.ts';
import { Session } from '../../src/client/session.ts';
import { findImage, parseTarget } from '../../src/client/target.ts';
import { environment, temporaryFolder } from '../fs/support.ts';
import { needs } from '../helpers/skip.ts';
import { startRegistry, type TestRegistry } from '../servers/docker-registry.ts';
import { layerOf, pushLayered, tarOf } from '../servers/layered.ts';
import { stargzOf } from '../servers/toc-layers.ts';

const layer = (text: string) => layerOf(tarOf([{ path: text, data: text }]));
const [BASE, ONE, TWO] = [layer('base'), layer('one'), layer('two')];

needs({ registry: true })('layers in the cache', () => {
  let home: string;
  let registry: TestRegistry;

  beforeEach(async () => {
    home = await temporaryFolder();
    registry = await startRegistry();
    const lab = { driver: 'oci', base: registry.url };
    await writeFile(join(home, '.sregistry'), JSON.stringify({ lab }), { mode: 0o600 });
    await pushLayered(registry.url, 'demo/one', '1', [BASE, ONE]);
    await pushLayered(registry.url, 'demo/two', '1', [BASE, TWO]);
  });
  afterEach(() => registry.remove());

  const session = async () => {
    const opened = await Session.open({ env: environment(home) });
    onTestFinished(() => opened.close());
    return opened;
  };
  let files = 0;
  const fetch = (on: Session, uri: string) => {
    files += 1;
    return pull(on, uri, { noLibrary: true, file: join(home, `${files}.sif`) });
  };
  const ONE_URI = 'lab://demo/one:1';
  const TWO_URI = 'lab://demo/two:1';

  /** What the list says of a layer; undefined if it is not there. */
  const listed = async (on: Session, { diffId }: typeof BASE) => {
    const entry = (await listCache(on)).find(({ digest }) => digest === diffId);
    return entry && { images: entry.images?.toSorted(), pinned: entry.pinned };
  };
  /** Which of the layers are pinned; undefined for one that is not there. */
  const pinned = (on: Session, layers: readonly (typeof BASE)[]) =>
    Promise.all(layers.map(async (each) => (await listed(on, each))?.pinned));

  test('are listed and verified with the images that use them, and counted apart from images', async () => {
    const on = await session();
    await fetch(on, ONE_URI);
    await fetch(on, TWO_URI);
    expect(await listed(on, BASE)).toEqual({ images: [ONE_URI, TWO_URI], pinned: false });
    expect(await listed(on, ONE)).toEqual({ images: [ONE_URI], pinned: false });
    expect(await cacheUsage(on)).toMatchObject({ images: 0, layers: 3 });
    const verified = await Array.fromAsync(verify(on));
    expect(verified).toContainEqual({ uri: `layer/${TWO.diffId}`, result: 'right', images: [TWO_URI] });
    expect(prune(on)).toMatchObject({ images: 0, layers: 3 });
  });

  test('stay while an image that has them is pinned, by whomever and however often they are used', async () => {
    const on = await session();
    await fetch(on, ONE_URI);
    await fetch(on, TWO_URI);
    expect(await pin(on, ONE_URI, true)).toBe(ONE_URI);
    await pin(on, TWO_URI, true);
    expect(await pinned(on, [BASE, ONE, TWO])).toEqual([true, true, true]);
    await pin(on, ONE_URI, false);
    expect(await pinned(on, [BASE, ONE, TWO])).toEqual([true, false, true]);
    expect(prune(await session())).toMatchObject({ layers: 1 });
    expect((await pinned(on, [BASE, ONE, TWO])).map((each) => each !== undefined)).toEqual([
      true,
      false,
      true,
    ]);
    await pin(on, TWO_URI, false);
    expect(prune(on)).toMatchObject({ layers: 2 });
  });

  test('that are fetched after their image was pinned are pinned, also for another image', async () => {
    const on = await session();
    await pin(on, ONE_URI, true);
    expect(await listCache(on)).toEqual([]);
    await fetch(await session(), TWO_URI);
    expect(await pinned(on, [BASE, TWO])).toEqual([true, false]);
    await fetch(on, ONE_URI);
    expect(prune(on)).toMatchObject({ layers: 1 });
    expect((await listed(on, ONE))?.pinned).toBe(true);
  });

  test('that are read in parts are listed and pinned as any other', async () => {
    const chunked = stargzOf(BASE.tar);
    await pushLayered(registry.url, 'demo/parts', '1', [chunked, ONE]);
    const on = await session();
    const uri = 'lab://demo/parts:1';
    await pin(on, uri, true);
    const target = await parseTarget(uri, on);
    const image = await findImage(on, target);
    if (!isLayered(image)) throw new Error('it is not in layers');
    await using opened = await on.layered.open(target.backend, image, on.current(target.backend, image));
    await opened.read(0, 100);
    const entries = await listCache(on);
    expect(entries.map(({ uri: entry }) => entry.replace(/:.*/, '')).sort()).toEqual([
      'layer/sha256',
      'layer/toc-gzip',
    ]);
    for (const { images, pinned } of entries) expect([images, pinned]).toEqual([[uri], true]);
    await pin(on, uri, false);
    expect((await listCache(on)).some(({ pinned }) => pinned)).toBe(false);
  });

  test('of a tag that has moved on are unpinned with its name, without its registry', async () => {
    const on = await session();
    await fetch(on, ONE_URI);
    await pin(on, ONE_URI, true);
    await pushLayered(registry.url, 'demo/one', '1', [TWO]);
    await registry.stop();
    await pin(await session(), ONE_URI, false);
    expect(prune(on)).toMatchObject({ layers: 2 });
    await registry.restart();
  });
});
