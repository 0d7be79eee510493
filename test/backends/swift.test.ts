/** What Swift has that other stores do not: segments and their manifests, containers, logins. */
import { createHash, randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Backend } from '../../src/backends/backend.ts';
import type { ImageName } from '../../src/image/name.ts';
import { needs } from '../helpers/skip.ts';
import { fileOf } from '../helpers/temporary.ts';
import { answer, startFaultProxy } from '../servers/fault-proxy.ts';
import { connectSwift, startSwift, type TestSwift } from '../servers/swift.ts';

const MEBIBYTE = 1024 * 1024;
const SEGMENT = { segment: '1MiB' };

needs({ swift: true })('Swift', () => {
  let service: TestSwift;
  let backend: Backend;
  let containers = 0;

  beforeAll(async () => {
    service = await startSwift();
    backend = connectSwift(service, SEGMENT);
  }, 60_000);
  afterAll(async () => {
    await backend.close?.();
    await service.stop();
  });

  const fresh = (image = 'hello'): ImageName => {
    containers += 1;
    return { collection: `lab-${Date.now()}-${containers}`, image, tag: '1.0' };
  };
  const push = (name: ImageName, bytes: Buffer, by = backend) => by.push?.(fileOf(bytes), name, {});
  async function read(name: ImageName, by = backend): Promise<Buffer> {
    const image = await by.resolve(name);
    if (image === undefined) throw new Error(`${name.image} is absent`);
    return buffer(await by.read(image, 0, image.size));
  }
  const keysIn = async (container: string) => {
    const reply = await service.request('GET', container);
    return reply.status === 200 ? (await reply.text()).trim().split('\n') : [];
  };
  const segmentsOf = ({ collection }: ImageName) => keysIn(`${collection}_segments`);

  test('an image beyond the size of a segment has segments, which its manifest names', async () => {
    const name = fresh();
    const bytes = randomBytes(3.5 * MEBIBYTE);
    const pushed = await push(name, bytes);
    const head = await service.request('HEAD', `${name.collection}/hello:1.0.sif`);
    expect(head.headers.get('x-static-large-object')).toBe('True');
    expect(await segmentsOf(name)).toHaveLength(4);
    expect(await read(name)).toEqual(bytes);
    const [listed] = await Array.fromAsync(backend.list(name.collection));
    expect(listed).toMatchObject({ remote: { size: bytes.length, revision: pushed?.revision } });
    const top = (await Array.fromAsync(backend.list(''))).map((entry) => entry.name);
    expect(top).toContain(name.collection);
    expect(top).not.toContain(`${name.collection}_segments`);
  });

  test('segments are deleted with their image, and when another replaces it', async () => {
    const name = fresh();
    await push(name, randomBytes(2.5 * MEBIBYTE));
    const second = randomBytes(1.5 * MEBIBYTE);
    await push(name, second);
    expect(await segmentsOf(name)).toHaveLength(2);
    expect(await read(name)).toEqual(second);
    const small = randomBytes(1000);
    await push(name, small);
    expect(await segmentsOf(name)).toEqual([]);
    expect(await read(name)).toEqual(small);
    await push(name, second);
    const image = await backend.resolve(name);
    if (image === undefined) throw new Error('it is absent');
    await backend.remove?.(image);
    expect(await segmentsOf(name)).toEqual([]);
    expect(await backend.resolve(name)).toBeUndefined();
  });

  test('pushes of one image at the same time leave the image of one of them', async () => {
    const name = fresh();
    const all = [1, 2, 3, 4].map((size) => randomBytes(size * MEBIBYTE + 1));
    await Promise.all(all.map((bytes) => push(name, bytes)));
    const left = await read(name);
    expect(all.some((bytes) => bytes.equals(left))).toBe(true);
  }, 30_000);

  test('a copy of an image in segments outlives the original', async () => {
    const name = fresh();
    const bytes = randomBytes(2.5 * MEBIBYTE);
    await push(name, bytes);
    const image = await backend.resolve(name);
    if (image === undefined) throw new Error('it is absent');
    const to = fresh('copy');
    await backend.copy?.(image, to);
    await backend.remove?.(image);
    expect(await segmentsOf(name)).toEqual([]);
    expect(await segmentsOf(to)).toHaveLength(3);
    expect(await read(to)).toEqual(bytes);
  });

  test('an interrupted push sends only the segments that are missing', async () => {
    const name = fresh();
    const bytes = randomBytes(5.5 * MEBIBYTE);
    await using proxy = await startFaultProxy(service.url);
    const slow = connectSwift(service, SEGMENT, { origin: proxy.url });
    let saved: Record<string, unknown> = {};
    const resume = { load: () => saved, save: (state: object) => (saved = { ...state }) };
    proxy.inject(answer(507), { match: ({ url = '' }) => /\/00000006$/.test(url), times: 9 });
    const file = fileOf(bytes);
    await expect(slow.push?.(file, name, { resume })).rejects.toThrow();
    proxy.clear();
    const before = proxy.requests.length;
    await slow.push?.(file, name, { resume });
    const sent = proxy.requests.slice(before).filter(({ url }) => /\/\d{8}$/.test(url));
    expect(sent.length).toBeLessThan(4);
    expect(await read(name)).toEqual(bytes);
    expect(await segmentsOf(name)).toHaveLength(6);
    await slow.close?.();
  });

  test('a manifest whose answer was lost keeps its segments', async () => {
    const name = fresh();
    const bytes = randomBytes(1.5 * MEBIBYTE);
    await using proxy = await startFaultProxy(service.url);
    const flaky = connectSwift(service, SEGMENT, { origin: proxy.url });
    let manifests = 0;
    proxy.inject(
      (_request, response, forward) => {
        // The service gets the manifest and stores it. Its answer never arrives.
        forward({
          download: async function* (body) {
            await buffer(Readable.from(body));
            manifests += 1;
            response.destroy();
            yield* [];
          },
        });
      },
      { match: ({ url = '' }) => url.includes('multipart-manifest=put'), times: 9 },
    );
    await flaky.push?.(fileOf(bytes), name, {}).catch(() => {});
    expect(manifests).toBeGreaterThan(0);
    expect(await read(name)).toEqual(bytes);
    await flaky.close?.();
  }, 30_000);

  test('segments that a push abandoned long ago are deleted, those of a manifest and of a push under way are not', async () => {
    const name = fresh();
    const first = randomBytes(1.5 * MEBIBYTE);
    await push(name, first);
    const folder = `${name.collection}_segments/hello:1.0.sif`;
    const old = `1600000000000-${crypto.randomUUID()}`;
    const recent = `1600000000000-${crypto.randomUUID()}`;
    const put = (key: string, time: number) =>
      service.request('PUT', key, { body: 'x', headers: { 'x-timestamp': String(time) } });
    await put(`${folder}/${old}/00000001`, 1_600_000_000);
    await put(`${folder}/${old}/unfinished`, 1_600_000_000);
    await put(`${folder}/${recent}/00000001`, Date.now() / 1000);
    await put(`${folder}/${recent}/unfinished`, Date.now() / 1000);
    await push(name, randomBytes(1.5 * MEBIBYTE));
    const left = (await segmentsOf(name)).join('\n');
    expect(left).toContain(recent);
    expect(left).not.toContain(old);
  });

  test('an image whose segments only a prefix names is read', async () => {
    const { collection } = fresh();
    for (const container of [collection, `${collection}_segments`]) await service.request('PUT', container);
    const [one, other] = [randomBytes(1000), randomBytes(500)];
    await service.request('PUT', `${collection}_segments/x/1`, { body: one });
    await service.request('PUT', `${collection}_segments/x/2`, { body: other });
    const headers = { 'x-object-manifest': `${collection}_segments/x/` };
    await service.request('PUT', `${collection}/theirs:2.0.sif`, { headers });
    const name = { collection, image: 'theirs', tag: '2.0' };
    expect(await read(name)).toEqual(Buffer.concat([one, other]));
    expect(await Array.fromAsync(backend.list(collection))).toMatchObject([{ name }]);
  });

  test('an image that the Python client pushed is found, with the metadata that others gave it', async () => {
    const { collection } = fresh();
    await service.request('PUT', collection);
    const bytes = randomBytes(1000);
    await service.request('PUT', `${collection}/dino:latest.simg`, {
      body: bytes,
      headers: { 'content-type': 'application/octet-stream', 'x-object-meta-maintainer': 'vanessasaur' },
    });
    const name = { collection, image: 'dino', tag: 'latest' };
    expect(await read(name)).toEqual(bytes);
    expect(await backend.resolve(name)).toMatchObject({
      annotations: { maintainer: 'vanessasaur' },
      revision: createHash('md5').update(bytes).digest('hex'),
    });
  });

  test('metadata beyond 256 bytes are with the object, and beyond 4 KiB in a sidecar', async () => {
    const name = fresh();
    const annotations = { HELP: 'é'.repeat(200), LONG: 'x'.repeat(1000) };
    await backend.push?.(fileOf(randomBytes(100)), name, { annotations });
    expect(await keysIn(name.collection)).toEqual(['hello:1.0.sif']);
    expect((await backend.resolve(name))?.annotations).toEqual(annotations);
    const more = { ...annotations, MORE: 'y'.repeat(5000) };
    await backend.push?.(fileOf(randomBytes(100)), name, { annotations: more });
    expect(await keysIn(name.collection)).toEqual(['hello:1.0.sif', 'hello:1.0.sif.json']);
    expect((await backend.resolve(name))?.annotations).toEqual(more);
  });

  test('a token that has expired is renewed once for all requests', async () => {
    const brief = await startSwift({ tokenLife: 1 });
    const other = connectSwift(brief, SEGMENT);
    const name = fresh();
    await push(name, randomBytes(100), other);
    await new Promise((done) => setTimeout(done, 1500));
    expect(await Promise.all([other.resolve(name), other.resolve(name)])).toMatchObject([{}, {}]);
    await other.close?.();
    await brief.stop();
  }, 60_000);

  test('a wrong password is UNAUTHORIZED', async () => {
    const wrong = connectSwift(service, { token: 'wrong' });
    await expect(wrong.check?.()).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
    await wrong.close?.();
  });

  test('without a key, a link is UNSUPPORTED; with one that the account has, it works until it expires', async () => {
    const name = fresh();
    const bytes = randomBytes(1000);
    const image = await push(name, bytes);
    if (image === undefined) throw new Error('not pushed');
    await expect(backend.share?.(image, {})).rejects.toMatchObject({ code: 'UNSUPPORTED' });
    await service.request('POST', name.collection, { headers: { 'x-container-meta-temp-url-key': 'k' } });
    const link = (await backend.share?.(image, { expires: 60 })) ?? '';
    expect(Buffer.from(await (await fetch(link)).arrayBuffer())).toEqual(bytes);
    const later = link.replace(/expires=(\d+)/, (_, time) => `expires=${Number(time) + 60}`);
    expect((await fetch(later)).status).toBe(401);
  });
});
