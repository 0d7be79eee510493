/** Containers in layers in a cache that is nearly full, and from a registry that fails: from a real one behind a proxy. */
import { randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { prune } from '../../src/client/cache.ts';
import type { Session } from '../../src/client/session.ts';
import { needs } from '../helpers/skip.ts';
import type { Fault } from '../servers/fault-proxy.ts';
import { type Compression, digestOf, type Layer, layerOf, tarOf } from '../servers/layered.ts';
import { fileIn, LayeredLab } from './layered-lab.ts';

const MIB = 1024 * 1024;

const layer = (path: string, data: Buffer | string, compression?: Compression) =>
  layerOf(tarOf([{ path, data }]), compression);
/** A layer that grows little when it is decompressed. */
const large = (path: string, bytes: number, compression?: Compression) =>
  layer(path, randomBytes(bytes), compression);

const incoming = ({ cache }: Session) => readdirSync(join(cache.root, 'incoming'));

/** Sends so many bytes of a blob. Then `end` decides. */
const sendPart =
  (bytes: number, end: (response: Parameters<Fault>[1]) => Promise<void> | void): Fault =>
  (_request, _response, forward) =>
    forward({
      download: async function* (body, response) {
        let sent = 0;
        for await (const chunk of body) {
          yield chunk;
          sent += chunk.length;
          if (sent >= bytes) break;
        }
        await end(response);
      },
    });
const cut = sendPart(MIB, (response) => void response.destroy());
const of = (wanted: Layer) => (request: { url?: string | undefined }) =>
  request.url?.includes(digestOf(wanted.blob)) ?? false;

needs({ registry: true })('a container in layers', () => {
  test('is opened in a cache that has just room for it, whatever its layers were expected to be', async () => {
    const lab = await LayeredLab.start();
    await lab.push('plain', [large('a', 8 * MIB, 'none')]);
    await lab.push('several', [
      large('a', 2 * MIB),
      large('b', 3 * MIB),
      large('c', 3 * MIB),
      layer('d', 'last'),
    ]);
    const on = await lab.session({ cacheSize: '9MiB', cacheMinFree: '0' });
    {
      await using plain = await lab.open(on, 'lab://demo/app:plain');
      expect(plain.size).toBeGreaterThan(8 * MIB);
    }
    await using several = await lab.open(on, 'lab://demo/app:several');
    expect(await fileIn(several, '/d')).toBe('last');
    expect(on.cache.bytes).toBeLessThanOrEqual(9 * MIB);
  });

  test('that does not fit into the cache is NO_SPACE, and what was begun makes room for another', async () => {
    const lab = await LayeredLab.start();
    // Blobs so small that a layer is never read in parts, which needs no room.
    const alike = (path: string) => layer(path, Buffer.alloc(4 * MIB, path));
    await lab.push('large', [alike('a'), alike('b'), alike('c')]);
    await lab.push('small', [alike('d')]);
    const on = await lab.session({ cacheSize: '9MiB', cacheMinFree: '0' });
    await expect(lab.open(on, 'lab://demo/app:large')).rejects.toMatchObject({ code: 'NO_SPACE' });
    await expect.poll(() => incoming(on)).toEqual([]);
    expect(on.layers.transfers).toEqual([]);
    await using small = await lab.open(on, 'lab://demo/app:small');
    expect(small.size).toBeGreaterThan(4 * MIB);
  });

  test('goes on where the connection broke', async () => {
    const lab = await LayeredLab.start();
    const [broken, other] = [large('a', 3 * MIB), layer('b', 'b')];
    await lab.push('1', [other, broken]);
    lab.proxy.inject(cut, { match: of(broken) });
    const on = await lab.session();
    await using image = await lab.open(on, 'lab://demo/app:1');
    expect(await fileIn(image, '/b')).toBe('b');
    const asked = lab.proxy.requests.filter(of(broken)).map(({ headers }) => headers.range);
    expect(asked).toHaveLength(2);
    expect(asked[1]).not.toMatch(/^bytes=0-/);
  });

  test('whose registry dies in the middle is an error soon, and is opened when the registry is back', async () => {
    const lab = await LayeredLab.start();
    const [broken, other] = [large('a', 3 * MIB), layer('b', 'b')];
    await lab.push('1', [other, broken]);
    lab.proxy.inject(cut, { match: of(broken) });
    lab.proxy.inject((_request, response) => response.destroy(), { match: of(broken), times: 1000 });
    const on = await lab.session();
    await expect(lab.open(on, 'lab://demo/app:1')).rejects.toMatchObject({ code: 'UNREACHABLE' });
    await expect.poll(() => incoming(on)).toEqual([]);
    lab.proxy.clear();
    await using image = await lab.open(on, 'lab://demo/app:1');
    expect(await fileIn(image, '/b')).toBe('b');
  });

  test('whose layer the registry has lost is an error that names the layer and who can help', async () => {
    const lab = await LayeredLab.start();
    const [lost, other] = [layer('a', 'a'), layer('b', 'b')];
    await lab.push('1', [other, lost]);
    const on = await lab.session();
    for (const status of [404, 200]) {
      const answer: Fault = (_request, response) =>
        void response.writeHead(status, { 'content-length': 12 }).end('not the blob');
      lab.proxy.inject(answer, { match: of(lost), times: 1000 });
      await expect(lab.open(on, 'lab://demo/app:1')).rejects.toMatchObject({
        code: 'SERVICE',
        message: expect.stringMatching(/does not have demo\/app:1, layer 2 of 2: sha256:/),
        hint: expect.stringContaining('owner'),
      });
      lab.proxy.clear();
    }
  });

  test('is no longer fetched once the session is closed, and leaves nothing behind', async () => {
    const lab = await LayeredLab.start();
    const slow = large('a', 3 * MIB);
    await lab.push('1', [slow, layer('b', 'b')]);
    const reached = Promise.withResolvers<void>();
    const stall = sendPart(MIB, async (response) => {
      reached.resolve();
      await new Promise((resolve) => response.on('close', resolve));
    });
    lab.proxy.inject(stall, { match: of(slow) });
    const on = await lab.session();
    const opening = lab.open(on, 'lab://demo/app:1').catch((error: unknown) => error);
    await reached.promise;
    await on.close();
    expect(incoming(on)).toEqual([]);
    expect(await opening).toMatchObject({ code: 'CANCELED' });
    await using image = await lab.open(await lab.session(), 'lab://demo/app:1');
    expect(await fileIn(image, '/b')).toBe('b');
  });

  test.each<[string, () => Layer[]]>([
    ['the same empty layer three times', () => Array(3).fill(layerOf(Buffer.alloc(1024)))],
    ['layers without a single byte', () => [layerOf(Buffer.alloc(0)), layerOf(Buffer.alloc(0), 'zstd')]],
    [
      'no end but padding',
      () => [layerOf(Buffer.alloc(10_240), 'none'), layerOf(Buffer.alloc(1024), 'zstd')],
    ],
  ])('of %s has the files of a container alone', async (_, layers) => {
    const lab = await LayeredLab.start();
    await lab.push('1', layers(), { Env: ['A=1'] });
    const on = await lab.session();
    await using image = await lab.open(on, 'lab://demo/app:1');
    expect(await fileIn(image, '/.singularity.d/env/10-docker2singularity.sh')).toContain("A='1'");
  });

  test('of 60 layers, some of them twice, is one image', async () => {
    const lab = await LayeredLab.start();
    const layers = Array.from({ length: 60 }, (_, i) => layer(`f${i % 50}`, `${i % 50}`));
    await lab.push('1', layers);
    const on = await lab.session();
    {
      await using image = await lab.open(on, 'lab://demo/app:1');
      expect(await fileIn(image, '/f59')).toBeUndefined();
      expect(await fileIn(image, '/f49')).toBe('49');
    }
    expect(prune(on).layers).toBe(50);
  });
});
