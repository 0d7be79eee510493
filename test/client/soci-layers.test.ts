/** Layers that are read by the SOCI index that their image names, from a real registry. */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { prune } from '../../src/client/cache.ts';
import type { OpenLayered } from '../../src/client/layered-images.ts';
import type { Session } from '../../src/client/session.ts';
import { material } from '../fuzz/gzip.ts';
import { random } from '../fuzz/run.ts';
import { needs } from '../helpers/skip.ts';
import { digestOf, type Layer, layerOf, pushLayered, tarOf } from '../servers/layered.ts';
import { pushSociIndex, type Table, withOtherWindows, type ZtocOptions, ztocOf } from '../servers/soci.ts';
import { fileIn, LayeredLab } from './layered-lab.ts';

const SPAN = { span: 1 << 20 };
const noise = [1, 2, 3, 4, 5, 6].map((seed) => material(2 << 20, random(seed)));
const LARGE = layerOf(
  tarOf([
    ...noise.map((data, i) => ({ path: `noise${i}`, data })),
    { path: 'etc/', type: 'directory' },
    { path: 'etc/word', data: 'soci\n' },
  ]),
);
const SMALL = layerOf(tarOf([{ path: 'etc/small', data: 'small\n' }]));

needs({ registry: true })('a layer with a ztoc', () => {
  let lab: LayeredLab;
  beforeEach(async () => {
    lab = await LayeredLab.start();
  });

  /** Pushes an image whose manifest names an index with this ztoc. */
  const push = async (tag: string, layer: Layer, ztoc: Buffer, version?: string) => {
    const { url } = lab.registry;
    const annotations = await pushSociIndex(url, 'demo/app', [{ layer, ztoc }], version);
    await pushLayered(url, 'demo/app', tag, [layer, SMALL], {}, undefined, annotations);
  };
  const bytesOf = async (on: Session, work: () => Promise<unknown>) => {
    const before = on.layers.fetchedBytes;
    await work();
    return on.layers.fetchedBytes - before;
  };
  const whole = async (image: OpenLayered) => digestOf(Buffer.from(await image.read(0, image.size)));
  const openWhole = async (on: Session, tag: string) => {
    await using image = await lab.open(on, `lab://demo/app:${tag}`);
    return await whole(image);
  };

  test.each<[string, Layer, ZtocOptions]>([
    ['gzip', LARGE, SPAN],
    ['gzip of the first version', LARGE, { ...SPAN, firstVersion: true }],
    ['a plain archive', layerOf(LARGE.tar, 'none'), SPAN],
    ['padding', layerOf(Buffer.concat([LARGE.tar, Buffer.alloc(7 * 1024)])), SPAN],
  ])('is read in parts, and the image has the bytes that it has without (%s)', async (_, layer, options) => {
    const ztoc = await ztocOf(layer, options);
    await push('soci', layer, ztoc);
    await lab.push('plain', [layer, SMALL]);
    {
      const on = await lab.session();
      let image!: OpenLayered;
      const opening = await bytesOf(on, async () => (image = await lab.open(on, 'lab://demo/app:soci')));
      expect(opening).toBeLessThan(ztoc.length + SMALL.blob.length + layer.blob.length / 3);
      const reading = await bytesOf(on, async () => expect(await fileIn(image, '/etc/word')).toBe('soci\n'));
      expect(opening + reading).toBeLessThan(ztoc.length + layer.blob.length / 2);
      await image[Symbol.asyncDispose]();
      await on.close();
    }
    const on = await lab.session();
    let image!: OpenLayered;
    expect(await bytesOf(on, async () => (image = await lab.open(on, 'lab://demo/app:soci')))).toBe(0);
    expect(await fileIn(image, '/noise3')).toBe(noise[3]?.toString());
    const bytes = await whole(image);
    await image[Symbol.asyncDispose]();
    // It is complete now, and is what every image with this layer has.
    expect(await bytesOf(on, async () => expect(await openWhole(on, 'plain')).toBe(bytes))).toBe(0);
    prune(on);
    expect(await openWhole(on, 'plain')).toBe(bytes);
  });

  test.each<[string, () => Promise<Buffer>]>([
    ['that is malformed', async () => Buffer.alloc(1000, 7)],
    ['of another layer', () => ztocOf(layerOf(Buffer.concat([LARGE.tar, Buffer.alloc(1 << 20, 'x')])), SPAN)],
    [
      'whose last span has another digest',
      () => {
        const change = (ztoc: Table): Table => {
          const info = ztoc.compression_info as Table & { span_digests: string[] };
          return {
            ...ztoc,
            compression_info: { ...info, span_digests: info.span_digests.map(() => digestOf(SMALL.blob)) },
          };
        };
        return ztocOf(LARGE, { ...SPAN, change });
      },
    ],
  ])('is fetched whole if it is one %s', async (_, make) => {
    await push('1', LARGE, await make());
    const on = await lab.session();
    await using image = await lab.open(on, 'lab://demo/app:1');
    expect(on.layers.fetchedBytes).toBeGreaterThan(LARGE.blob.length);
    expect(await fileIn(image, '/etc/word')).toBe('soci\n');
  });

  test('is fetched whole if the registry has lost or damaged the ztoc, or the index is of the first version', async () => {
    const ztoc = await ztocOf(LARGE, SPAN);
    await push('1', LARGE, ztoc, 'v1');
    const read = async (on: Session) => {
      await using image = await lab.open(on, 'lab://demo/app:1');
      expect(await fileIn(image, '/etc/word')).toBe('soci\n');
    };
    const on = await lab.session();
    expect(await bytesOf(on, () => read(on))).toBe(LARGE.blob.length + SMALL.blob.length);
    await push('1', LARGE, ztoc);
    const hex = digestOf(ztoc).slice(7);
    const path = join(lab.storage, 'docker/registry/v2/blobs/sha256', hex.slice(0, 2), hex, 'data');
    writeFileSync(path, Buffer.from(ztoc).fill(1, 1000, 1100));
    await on.layers.settled();
    prune(on);
    rmSync(join(on.cache.root, 'points'), { recursive: true });
    const again = await lab.session();
    expect(await bytesOf(again, () => read(again))).toBe(ztoc.length + LARGE.blob.length + SMALL.blob.length);
  });

  test('is fetched whole if the registry has the index and not the ztoc', async () => {
    const ztoc = await ztocOf(LARGE, SPAN);
    await push('1', LARGE, ztoc);
    rmSync(lab.registry.blobFile(digestOf(ztoc)));
    const on = await lab.session();
    await using image = await lab.open(on, 'lab://demo/app:1');
    expect(await fileIn(image, '/etc/word')).toBe('soci\n');
  });

  test('is CORRUPT once it is complete if the ztoc lied, and is fetched whole then', async () => {
    await push('lie', LARGE, await ztocOf(LARGE, { ...SPAN, change: withOtherWindows }));
    await lab.push('plain', [LARGE, SMALL]);
    const on = await lab.session();
    {
      await using lie = await lab.open(on, 'lab://demo/app:lie');
      expect(on.layers.fetchedBytes).toBeLessThan(LARGE.blob.length);
      await fileIn(lie, '/etc/word');
      // What one image says of the layer is nothing to another image that has it.
      await using plain = await lab.open(on, 'lab://demo/app:plain');
      expect(await fileIn(plain, '/noise4')).toBe(noise[4]?.toString());
      await expect(whole(lie)).rejects.toMatchObject({ code: 'CORRUPT' });
    }
    expect(await openWhole(on, 'lie')).toBe(await openWhole(on, 'plain'));
    prune(on);
    expect(await openWhole(on, 'lie')).toBe(await openWhole(on, 'plain'));
  });

  test.each(['read', 'fetched'])(
    'shows what its archive holds once that was %s, if the ztoc told of other files',
    async (how) => {
      const change = (ztoc: Table, files: Table[]): Table => ({
        ...ztoc,
        toc: {
          metadata: files.map((file) => (file.name === 'etc/word' ? { ...file, name: 'etc/lie' } : file)),
        },
      });
      await push('lie', LARGE, await ztocOf(LARGE, { ...SPAN, change }));
      await lab.push('plain', [LARGE, SMALL]);
      const on = await lab.session();
      {
        await using lie = await lab.open(on, 'lab://demo/app:lie');
        expect(await fileIn(lie, '/etc/lie')).toBe('soci\n');
        if (how === 'read') await whole(lie);
      }
      if (how === 'fetched') await openWhole(on, 'plain');
      expect(await openWhole(on, 'lie')).toBe(await openWhole(on, 'plain'));
      prune(on);
      await using image = await lab.open(on, 'lab://demo/app:lie');
      expect(await fileIn(image, '/etc/word')).toBe('soci\n');
    },
  );

  test.each(['ztoc', 'restart points'])(
    'gives the right bytes by its %s where the registry knows no ranges',
    async (by) => {
      await push('1', LARGE, await ztocOf(LARGE, SPAN), by === 'ztoc' ? 'v2' : 'v1');
      const on = await lab.session();
      if (by === 'restart points') {
        await openWhole(on, '1');
        await on.layers.settled();
        prune(on);
      }
      lab.proxy.inject(
        (request, _response, forward) => {
          delete request.headers.range;
          forward();
        },
        { times: 1000 },
      );
      {
        await using image = await lab.open(on, 'lab://demo/app:1');
        expect(await fileIn(image, '/etc/word')).toBe('soci\n');
        expect(await fileIn(image, '/noise2')).toBe(noise[2]?.toString());
      }
      prune(on);
      // Now it is fetched whole.
      const bytes = await bytesOf(on, async () => expect(await openWhole(on, '1')).toBeDefined());
      expect(bytes).toBe(LARGE.blob.length + SMALL.blob.length);
    },
  );
});
