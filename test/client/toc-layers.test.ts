/** Layers with tables of contents on a real registry: what opening and reading them fetches, and what damage does. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { expect, onTestFinished, test } from 'vitest';
import { prune, verify } from '../../src/client/cache.ts';
import { pull } from '../../src/client/pull.ts';
import type { Session } from '../../src/client/session.ts';
import { files } from '../../src/image/image.ts';
import { SquashFs } from '../../src/image/squashfs/filesystem.ts';
import { needs } from '../helpers/skip.ts';
import type { Fault } from '../servers/fault-proxy.ts';
import { digestOf, type Layer, layerOf, tarOf } from '../servers/layered.ts';
import { chunkedOf, GENUINE, genuineLayer, stargzOf } from '../servers/toc-layers.ts';
import { fileIn, LayeredLab } from './layered-lab.ts';

const SIZE = 256 * 1024;
const LARGE = 16 * SIZE;
/** Bytes that do not compress, the same each time. */
const noise = (size: number, seed: number) => {
  const bytes = Buffer.alloc(size);
  let state = seed;
  for (let i = 0; i < size; i++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    bytes[i] = state >>> 23;
  }
  return bytes;
};
const BASE = tarOf([
  { path: 'etc/', type: 'directory' },
  { path: 'etc/gone', data: 'gone' },
  { path: 'etc/small', data: 'small\n' },
  ...Array.from({ length: 20 }, (_, i) => ({ path: `lib/${i}`, data: noise(SIZE, i + 1) })),
  { path: 'lib/large', data: noise(LARGE, 99) },
  { path: 'etc/last', data: 'last\n' },
]);
const APP = tarOf([{ path: 'etc/.wh.gone' }, { path: 'app', data: 'app\n' }]);
const URI = 'lab://demo/app:1';
/** {@link BASE} in each form, with chunks of 1 MiB. */
const BASES: Readonly<Record<string, Layer>> = {
  eStargz: stargzOf(BASE, { chunkSize: 4 * SIZE }),
  'zstd:chunked': chunkedOf(BASE, { chunkSize: 4 * SIZE }),
};
/** {@link BASE} compressed anew, with the annotations of what it was before. */
const STALE: Readonly<Record<string, Layer>> = {
  eStargz: { ...layerOf(BASE), annotations: BASES.eStargz?.annotations ?? {} },
  'zstd:chunked': {
    ...layerOf(BASE, 'zstd'),
    // As large as before, so that the place of the table is in it: frames of nothing follow.
    blob: Buffer.concat([layerOf(BASE, 'zstd').blob, ...Array<Buffer>(10_000).fill(zstdCompressSync(''))]),
    annotations: BASES['zstd:chunked']?.annotations ?? {},
  },
};
/** Layers of {@link stargzOf} with the end changed, and the same table. */
const IMPOSTORS: Readonly<Record<string, (layer: Layer) => Layer>> = {
  'says that another image has it': (layer) => ({
    ...layer,
    blob: Buffer.concat([
      layer.blob.subarray(0, -51),
      Buffer.from('1f8b08040000000000ff150053471100', 'hex'),
      Buffer.from('STARGZEXTERNALTOC'),
      Buffer.from('010000ffff0000000000000000', 'hex'),
    ]),
  }),
  'has it further behind': (layer) => {
    const { blob } = layer;
    const at = Number.parseInt(blob.toString('latin1', blob.length - 35, blob.length - 19), 16);
    const between = Buffer.concat(Array<Buffer>(3000).fill(gzipSync('')));
    const footer = Buffer.from(blob.subarray(-51));
    footer.write((at + between.length).toString(16).padStart(16, '0'), 16, 'latin1');
    return {
      ...layer,
      blob: Buffer.concat([blob.subarray(0, at), between, blob.subarray(at, -51), footer]),
    };
  },
};

const network = ({ layers }: Session) => layers.fetchedBytes;

/** Bytes of blobs that the registry was asked for, by the ranges of the requests. */
function asked(lab: LayeredLab, { blob }: Layer): { requests: number; whole: number } {
  const requests = lab.proxy.requests.filter(({ url }) => url.endsWith(digestOf(blob)));
  const whole = requests.filter(({ headers }) => headers.range === `bytes=0-${blob.length - 1}`).length;
  return { requests: requests.length, whole };
}

needs({ registry: true })('layers with tables of contents', () => {
  test.each(GENUINE)('%s shows the files that the same layer as gzip shows', async (name) => {
    const lab = await LayeredLab.start();
    await lab.push('plain', [genuineLayer('layer.tar.gz'), layerOf(APP)]);
    await lab.push('1', [genuineLayer(name), layerOf(APP)]);
    const on = await lab.session();
    const shown = async (uri: string) => {
      await using image = await lab.open(on, uri);
      const all: object[] = [];
      const fs = await SquashFs.open(image);
      for await (const file of files(image)) {
        const bytes = file.type === 'file' ? await fs.readFile(file.path, 1e7) : undefined;
        all.push({ ...file, sum: bytes && digestOf(Buffer.from(bytes)) });
      }
      return all;
    };
    const plain = await shown('lab://demo/app:plain');
    expect(plain.length).toBeGreaterThan(60);
    expect(await shown(URI)).toEqual(plain);
  });

  test.each(Object.entries(BASES))('%s: opening fetches the table, a read what it needs', async (_, base) => {
    const lab = await LayeredLab.start();
    await lab.push('1', [base, stargzOf(APP)]);
    const on = await lab.session();
    await using image = await lab.open(on, URI);
    expect(network(on)).toBeLessThan(140_000);
    expect(await fileIn(image, '/etc/small')).toBe('small\n');
    expect(await fileIn(image, '/etc/last')).toBe('last\n');
    expect(await fileIn(image, '/etc/gone')).toBeUndefined();
    expect(await fileIn(image, '/app')).toBe('app\n');
    const few = network(on);
    expect(few).toBeLessThan(base.blob.length / 8);
    const fs = await SquashFs.open(image);
    expect(noise(SIZE, 8).equals((await fs.readFile('/lib/7', 1e8)) as Uint8Array)).toBe(true);
    expect(network(on) - few).toBeLessThan(4 * SIZE);
    expect(noise(LARGE, 99).equals((await fs.readFile('/lib/large', 1e8)) as Uint8Array)).toBe(true);
    expect(asked(lab, base).whole).toBe(0);
    expect(network(on)).toBeLessThan(LARGE + 8 * SIZE);
  });

  test('a second opening needs neither table nor chunks, in this session and in a later one', async () => {
    const lab = await LayeredLab.start();
    const base = BASES.eStargz as Layer;
    await lab.push('1', [base]);
    for (const requests of [3, 3]) {
      const on = await lab.session();
      for (let i = 0; i < 2; i++) {
        await using image = await lab.open(on, URI);
        expect(await fileIn(image, '/etc/small')).toBe('small\n');
      }
      expect(asked(lab, base).requests).toBeLessThanOrEqual(requests);
    }
  });

  test('what was evicted is fetched again, without the table', async () => {
    const lab = await LayeredLab.start();
    const base = BASES['zstd:chunked'] as Layer;
    await lab.push('1', [base]);
    const on = await lab.session();
    const read = async () => {
      await using image = await lab.open(on, URI);
      expect(await fileIn(image, '/etc/small')).toBe('small\n');
    };
    await read();
    expect(prune(on).layers).toBe(1);
    const later = await lab.session();
    const before = asked(lab, base).requests;
    {
      await using image = await lab.open(later, URI);
      expect(asked(lab, base).requests).toBe(before);
      expect(await fileIn(image, '/etc/small')).toBe('small\n');
      expect(asked(lab, base).requests).toBe(before + 1);
    }
  });

  test('the bytes of an image follow from its manifest', async () => {
    const lab = await LayeredLab.start();
    await lab.push('1', [genuineLayer('layer.esgz'), layerOf(APP)]);
    await lab.push('2', [genuineLayer('layer.zst'), layerOf(APP)]);
    const on = await lab.session();
    const bytes = async (tag: string) => {
      await using image = await lab.open(on, `lab://demo/app:${tag}`);
      return digestOf(Buffer.from(await image.read(0, image.size)));
    };
    expect([await bytes('1'), await bytes('2')]).toEqual([
      'sha256:2b357eb516e6c91e3d0539f411b8f3e265c240cd60b169e2e58e484e753a7b0c',
      'sha256:e36a36f964e0cd65d496c7e67621b77a786801f75ffde1930fbeaad7b592b3a0',
    ]);
  });

  test.each(Object.entries(BASES))(
    '%s: a chunk that is damaged is CORRUPT, and none of it is served',
    async (_, base) => {
      const lab = await LayeredLab.start();
      await lab.push('1', [base]);
      const path = lab.registry.blobFile(digestOf(base.blob));
      const right = readFileSync(path);
      const middle = Math.floor(right.length / 3);
      writeFileSync(path, Buffer.from(right).fill(7, middle, middle + 1000));
      const on = await lab.session();
      await using image = await lab.open(on, URI);
      const fs = await SquashFs.open(image);
      const read = (i: number) =>
        fs.readFile(`/lib/${i}`, 1e8).then(
          (bytes) => noise(SIZE, i + 1).equals(bytes as Uint8Array),
          (error: unknown) => error,
        );
      const outcomes = await Promise.all(Array.from({ length: 20 }, (_, i) => read(i)));
      const wrong = outcomes.filter((outcome) => outcome !== true);
      expect(wrong.length).toBeGreaterThan(0);
      expect(wrong.length).toBeLessThan(4);
      for (const error of wrong)
        expect(error).toMatchObject({
          code: 'CORRUPT',
          message: expect.stringContaining('chunk of the layer'),
        });
      writeFileSync(path, right);
      for (let i = 0; i < 20; i++) expect(await read(i)).toBe(true);
    },
  );

  test('a table that is damaged is CORRUPT, and right once the registry has it right', async () => {
    const lab = await LayeredLab.start();
    const base = genuineLayer('layer.esgz');
    await lab.push('1', [base]);
    const path = lab.registry.blobFile(digestOf(base.blob));
    const right = readFileSync(path);
    const on = await lab.session();
    const damage = (at: number) => writeFileSync(path, Buffer.from(right).fill(7, at, at + 10));
    // Without its footer there seems to be no table, until the digest of the layer is compared.
    for (const [at, what] of [
      [right.length - 30, ''],
      [right.length - 2000, 'table of contents of '],
    ] as const) {
      damage(at);
      await expect(lab.open(on, URI)).rejects.toMatchObject({
        code: 'CORRUPT',
        message: expect.stringContaining(`${what}demo/app:1, layer 1 of 1`),
      });
    }
    writeFileSync(path, right);
    await using image = await lab.open(on, URI);
    expect(await fileIn(image, '/etc/owned')).toBe('owned\n');
  });

  test.each(Object.entries(STALE))(
    '%s: a layer that was compressed anew and kept its annotations is fetched whole',
    async (_, layer) => {
      const lab = await LayeredLab.start();
      await lab.push('1', [layer]);
      await lab.push('plain', [layerOf(BASE)]);
      for (let i = 0; i < 2; i++) {
        const on = await lab.session();
        await using image = await lab.open(on, URI);
        await using plain = await lab.open(on, 'direct://demo/app:plain');
        const all = Buffer.from(await image.read(0, image.size));
        expect(all.equals(await plain.read(0, plain.size))).toBe(true);
      }
      // The place of the table is asked for once: the digest of the layer proves that it has none.
      expect(asked(lab, layer)).toEqual({ requests: 2, whole: 1 });
    },
  );

  test('a table that is there and is not the one of the manifest is CORRUPT', async () => {
    const lab = await LayeredLab.start();
    const { annotations = {} } = BASES.eStargz as Layer;
    await lab.push('1', [{ ...stargzOf(BASE, { chunkSize: SIZE }), annotations }]);
    const opening = lab.open(await lab.session(), URI);
    await expect(opening).rejects.toMatchObject({
      code: 'CORRUPT',
      message: expect.stringContaining('states'),
    });
  });

  test('a registry that hides the table of a layer is found out, and the next opening goes by the table', async () => {
    const lab = await LayeredLab.start();
    const base = BASES.eStargz as Layer;
    await lab.push('1', [base]);
    const hide: Fault = (_request, _response, forward) =>
      forward({
        download: async function* (body) {
          for await (const chunk of body) yield Buffer.alloc(chunk.length);
        },
      });
    lab.proxy.inject(hide, { match: ({ url }) => url?.endsWith(digestOf(base.blob)) ?? false, times: 1 });
    const on = await lab.session();
    await expect(lab.open(on, URI)).rejects.toMatchObject({
      code: 'CORRUPT',
      message: expect.stringContaining('other bytes of demo/app:1'),
    });
    const before = network(on);
    await using image = await lab.open(on, URI);
    expect(await fileIn(image, '/etc/small')).toBe('small\n');
    expect(network(on) - before).toBeLessThan(base.blob.length / 8);
  });

  test.each(Object.entries(IMPOSTORS))(
    'a blob that names the table of another layer and %s changes nothing for that layer',
    async (_, impostor) => {
      const lab = await LayeredLab.start();
      const base = BASES.eStargz as Layer;
      await lab.push('evil', [impostor(base)]);
      await lab.push('1', [base]);
      const elsewhere = await lab.session({ env: { SREGISTRY_CACHEDIR: join(lab.home, 'elsewhere') } });
      await using right = await lab.open(elsewhere, URI);
      const on = await lab.session();
      await (await lab.open(on, 'lab://demo/app:evil'))[Symbol.asyncDispose]();
      const before = network(on);
      await using image = await lab.open(on, URI);
      expect(image.size).toBe(right.size);
      expect(await fileIn(image, '/etc/last')).toBe('last\n');
      expect(await fileIn(image, '/etc/small')).toBe('small\n');
      expect(network(on) - before).toBeLessThan(base.blob.length / 8);
    },
  );

  test('a layer whose table tells too little is fetched whole, and its table once', async () => {
    const lab = await LayeredLab.start();
    const base = stargzOf(BASE, { text: (json) => json.replace('"version":1', '"version":3') });
    await lab.push('1', [base]);
    for (let i = 0; i < 2; i++) {
      const on = await lab.session();
      await using image = await lab.open(on, URI);
      expect(await fileIn(image, '/etc/small')).toBe('small\n');
      prune(on);
    }
    expect(asked(lab, base)).toEqual({ requests: 2, whole: 1 });
  });

  test('pull fetches a whole layer with few requests, each byte once, and gives a right image', async () => {
    const lab = await LayeredLab.start();
    const base = chunkedOf(BASE, { chunkSize: 50_000 });
    await lab.push('1', [base, chunkedOf(APP)]);
    const on = await lab.session();
    const { path } = await pull(on, 'direct://demo/app:1', { file: join(lab.home, 'app.sif') });
    onTestFinished(() => rmSync(path, { force: true }));
    expect(network(on)).toBeLessThan(base.blob.length * 1.05);
    const sent = () =>
      lab.registry.log().filter((request) => request.path.endsWith(digestOf(base.blob))).length;
    await expect.poll(sent).toBeGreaterThan(0);
    expect(sent()).toBeLessThan(20);
    await using image = await lab.open(on, URI);
    expect(await fileIn(image, '/etc/last')).toBe('last\n');
    expect(asked(lab, base).requests).toBe(0);
  });

  test('a registry that knows no ranges sends a layer twice: for its table, and for all of it', async () => {
    const lab = await LayeredLab.start();
    const base = BASES.eStargz as Layer;
    await lab.push('1', [base]);
    lab.proxy.inject(
      (request, _response, forward) => {
        delete request.headers.range;
        forward();
      },
      { times: 1000 },
    );
    const on = await lab.session();
    await using image = await lab.open(on, URI);
    expect(await fileIn(image, '/etc/small')).toBe('small\n');
    expect(await fileIn(image, '/etc/last')).toBe('last\n');
    const bytes = await (await SquashFs.open(image)).readFile('/lib/7', 1e8);
    expect(noise(SIZE, 8).equals(bytes as Uint8Array)).toBe(true);
    const sent = () =>
      lab.registry
        .log()
        .filter(({ path, bytes }) => path.endsWith(digestOf(base.blob)) && bytes > base.blob.length / 2)
        .length;
    await expect.poll(sent).toBeGreaterThan(0);
    expect(sent()).toBeLessThan(5);
  });

  test('two images on one base share what was read of it', async () => {
    const lab = await LayeredLab.start();
    const base = BASES.eStargz as Layer;
    await lab.push('1', [base, layerOf(APP)]);
    await lab.push('2', [base]);
    const on = await lab.session();
    await using one = await lab.open(on, URI);
    expect(await fileIn(one, '/etc/small')).toBe('small\n');
    const before = asked(lab, base).requests;
    await using two = await lab.open(on, 'lab://demo/app:2');
    expect(await fileIn(two, '/etc/small')).toBe('small\n');
    expect(asked(lab, base).requests).toBe(before);
  });

  test.each(['the same image', 'another image'])(
    'what one registry no longer gives, another does through which %s with the layer is open',
    async (which) => {
      const lab = await LayeredLab.start();
      const base = BASES.eStargz as Layer;
      await lab.push('1', [base]);
      await lab.push('2', [base, layerOf(APP)]);
      const on = await lab.session();
      await using one = await lab.open(on, URI);
      await using two = await lab.open(on, `direct://demo/app:${which === 'the same image' ? 1 : 2}`);
      lab.proxy.inject((_request, response) => void response.writeHead(403).end(), { times: 1000 });
      expect(await fileIn(two, '/etc/small')).toBe('small\n');
      const bytes = await (await SquashFs.open(one)).readFile('/lib/7', 1e8);
      expect(noise(SIZE, 8).equals(bytes as Uint8Array)).toBe(true);
      await two[Symbol.asyncDispose]();
      await expect(fileIn(one, '/lib/large')).rejects.toMatchObject({ code: 'FORBIDDEN' });
    },
  );

  test('a verification of the cache finds what was read right, and what was changed', async () => {
    const lab = await LayeredLab.start();
    await lab.push('1', [genuineLayer('layer.zst')]);
    const on = await lab.session();
    {
      await using image = await lab.open(on, URI);
      await image.read(0, image.size);
    }
    const results = async () => {
      const all: string[] = [];
      for await (const { result } of verify(on)) all.push(result);
      return all;
    };
    expect(await results()).toEqual(['unverifiable']);
    const [{ key = '' } = {}] = on.cache.list();
    const path = join(on.cache.root, 'images', key.slice(0, 2), key, 'data');
    writeFileSync(path, readFileSync(path).fill('x', 1000, 1100));
    expect(await results()).toEqual(['wrong']);
    await using image = await lab.open(on, URI);
    expect(await fileIn(image, '/etc/owned')).toBe('owned\n');
  });
});
