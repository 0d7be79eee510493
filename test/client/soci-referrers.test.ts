/** Layers that are read by a SOCI index that refers to their image from outside, where the backend lets such indexes count. */
import { beforeEach, expect, onTestFinished, test } from 'vitest';
import type { OpenLayered } from '../../src/client/layered-images.ts';
import type { Session } from '../../src/client/session.ts';
import { parseTarget } from '../../src/client/target.ts';
import { material } from '../fuzz/gzip.ts';
import { random } from '../fuzz/run.ts';
import { needs } from '../helpers/skip.ts';
import { startFakeRegistry } from '../servers/fake-registry.ts';
import { digestOf, layerOf, pushLayered, tarOf } from '../servers/layered.ts';
import {
  pushReferringIndex,
  pushSociIndex,
  type Table,
  tagReferrers,
  withOtherWindows,
  type ZtocOptions,
  ztocOf,
} from '../servers/soci.ts';
import { fileIn, LayeredLab } from './layered-lab.ts';

const SPAN = { span: 1 << 20 };
const noise = [1, 2, 3, 4].map((seed) => material(2 << 20, random(seed)));
const LAYER = layerOf(
  tarOf([
    ...noise.map((data, i) => ({ path: `noise${i}`, data })),
    { path: 'etc/', type: 'directory' },
    { path: 'etc/word', data: 'soci\n' },
  ]),
);
const NAME = 'lab://demo/app:1';
const TRUSTING = { soci: 'referrers' };

needs({ registry: true })('a SOCI index that refers to an image', () => {
  let lab: LayeredLab;
  beforeEach(async () => {
    lab = await LayeredLab.start();
  });

  /** Pushes an image and an index that refers to it, as to a registry without the API. */
  const push = async (options: ZtocOptions) => {
    const { url } = lab.registry;
    const image = await lab.push('1', [LAYER]);
    const ztoc = await ztocOf(LAYER, options);
    const index = await pushReferringIndex(url, 'demo/app', image, [{ layer: LAYER, ztoc }]);
    await tagReferrers(url, 'demo/app', image, [index]);
    return image;
  };
  const word = async (on: Session, name = NAME) => {
    await using image = await lab.open(on, name);
    return await fileIn(image, '/etc/word');
  };
  const whole = async (image: OpenLayered) => digestOf(Buffer.from(await image.read(0, image.size)));
  const openWhole = async (on: Session, name: string) => {
    await using image = await lab.open(on, name);
    return await whole(image);
  };
  const asked = () => lab.proxy.requests.map(({ url }) => url);

  test('is found by its tag in a registry without the API, and the image has the bytes that it has without.', async () => {
    const { digest } = await push(SPAN);
    await lab.configure(TRUSTING);
    const on = await lab.session();
    expect(await word(on)).toBe('soci\n');
    expect(on.layers.fetchedBytes).toBeLessThan(LAYER.blob.length / 2);
    expect(asked()).toContainEqual(expect.stringContaining(`/v2/demo/app/referrers/${digest}?artifactType=`));
    const bytes = await openWhole(on, NAME);
    expect(await openWhole(on, 'direct://demo/app:1')).toBe(bytes);
  });

  test('is found by the API.', async () => {
    const spec = await startFakeRegistry();
    onTestFinished(() => spec.close());
    const image = await pushLayered(spec.url, 'demo/app', '1', [LAYER]);
    const ztoc = await ztocOf(LAYER, SPAN);
    await pushReferringIndex(spec.url, 'demo/app', image, [{ layer: LAYER, ztoc }]);
    await lab.configure({ ...TRUSTING, base: spec.url });
    const on = await lab.session();
    expect(await word(on)).toBe('soci\n');
    expect(on.layers.fetchedBytes).toBeLessThan(LAYER.blob.length / 2);
  });

  test('is not used, and not asked for, unless the option says so.', async () => {
    await push(SPAN);
    const on = await lab.session();
    expect(await word(on)).toBe('soci\n');
    expect(on.layers.fetchedBytes).toBe(LAYER.blob.length);
    expect(asked().filter((url) => /referrers|sha256-/.test(url))).toEqual([]);
  });

  test('is not used where the option is off, and neither is one that the image names.', async () => {
    const { url } = lab.registry;
    const ztoc = await ztocOf(LAYER, SPAN);
    const named = await pushSociIndex(url, 'demo/app', [{ layer: LAYER, ztoc }]);
    await pushLayered(url, 'demo/app', '1', [LAYER], {}, undefined, named);
    await lab.configure({ soci: 'off' });
    const on = await lab.session();
    expect(await word(on)).toBe('soci\n');
    expect(on.layers.fetchedBytes).toBe(LAYER.blob.length);
    expect(asked().filter((path) => /referrers|sha256-/.test(path))).toEqual([]);
  });

  test('is dropped once the archive is complete if its ztoc lied, and reads are CORRUPT until then.', async () => {
    await push({ ...SPAN, change: withOtherWindows });
    await lab.configure(TRUSTING);
    const on = await lab.session();
    {
      await using lie = await lab.open(on, NAME);
      expect(on.layers.fetchedBytes).toBeLessThan(LAYER.blob.length);
      // Who does not believe the index has the right bytes, of the same image in the same cache.
      await using honest = await lab.open(on, 'direct://demo/app:1');
      expect(await fileIn(honest, '/noise3')).toBe(noise[3]?.toString());
      await expect(whole(lie)).rejects.toMatchObject({ code: 'CORRUPT' });
    }
    expect(await openWhole(on, NAME)).toBe(await openWhole(on, 'direct://demo/app:1'));
  });

  test('tells of files only to backends that believe it.', async () => {
    const change = (ztoc: Table, files: Table[]): Table => ({
      ...ztoc,
      toc: {
        metadata: files.map((file) => (file.name === 'etc/word' ? { ...file, name: 'etc/lie' } : file)),
      },
    });
    await push({ ...SPAN, change });
    await lab.configure(TRUSTING);
    const on = await lab.session();
    await using lie = await lab.open(on, NAME);
    expect(await fileIn(lie, '/etc/lie')).toBe('soci\n');
    expect(await word(on, 'direct://demo/app:1')).toBe('soci\n');
  });

  test('is not remembered for a backend whose option changed.', async () => {
    await push(SPAN);
    const remembered = async () => {
      const on = await lab.session({ ttl: '1h' });
      const { backend, name } = await parseTarget(NAME, on);
      const image = await on.metadata.images.resolve(backend, name);
      return image?.layered?.layers[0]?.ztoc;
    };
    await lab.configure(TRUSTING);
    expect(await remembered()).toBeDefined();
    await lab.configure({});
    expect(await remembered()).toBeUndefined();
  });
});
