import { randomBytes } from 'node:crypto';
import { buffer } from 'node:stream/consumers';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import type { RemoteImage } from '../../../src/backends/backend.ts';
import { createHttpClient, type HttpSettings } from '../../../src/backends/http.ts';
import { createLinks, parseLink } from '../../../src/backends/kit/manifest-link.ts';
import { sendRange, startFaultServer } from '../../servers/http-faults.ts';

const BYTES = randomBytes(100_000);
const NAME = { collection: 'lab', image: 'x', tag: '1' };

/** A service whose manifests link to storage on another port, by addresses that are signed and expire. */
async function start({ size, ...settings }: HttpSettings & { size?: number } = {}) {
  const state = {
    version: 'v1',
    signature: 1,
    query: '',
    refusal: 403,
    bytes: BYTES,
    isGone: false,
    isEmpty: false,
    tag: '"tag"',
  };
  const storage = await startFaultServer((request, response) => {
    if (state.isEmpty) return void response.writeHead(404).end();
    const { searchParams } = new URL(request.url ?? '', storage.url);
    if (searchParams.get('signature') !== String(state.signature))
      return void response.writeHead(state.refusal).end();
    sendRange(request, response, state.bytes, { etag: state.tag });
  });
  const service = await startFaultServer((_, response) => {
    if (state.isGone) return void response.writeHead(404).end();
    const url = `${storage.url}/file.sif?signature=${state.signature}${state.query}`;
    response.end(JSON.stringify({ url, version: state.version }));
  });
  const http = createHttpClient({ base: service.url, env: {}, ...settings });
  onTestFinished(() => storage.close());
  onTestFinished(() => service.close());
  onTestFinished(() => http.close());
  const fetchLink = async (path: string, signal?: AbortSignal) => {
    const reply = await http.get(path, { allow: [404], signal });
    if (reply.status === 404) return undefined;
    const { url, version } = reply.json() as { url: string; version: string };
    return { url: parseLink(url, new URL(service.url), path), version, size };
  };
  const links = createLinks({ http, host: new URL(service.url).host, fetchLink });
  const resolve = async (): Promise<RemoteImage> => {
    const link = await fetchLink('/manifest');
    if (link === undefined) throw new Error('no manifest');
    return { name: NAME, ...(await links.find('/manifest', link)) };
  };
  const read = async (image: RemoteImage, offset = 0, length = image.size) =>
    buffer(await links.read(image, { offset, length }));
  return { state, storage, service, resolve, read };
}

describe('A link', () => {
  test('is followed without asking for the manifest again.', async () => {
    const { service, resolve, read } = await start();
    const image = await resolve();
    expect(image).toMatchObject({ size: BYTES.length, revision: expect.stringContaining('v1') });
    expect(await read(image, 10, 100)).toEqual(BYTES.subarray(10, 110));
    expect(await read(image)).toEqual(BYTES);
    expect(service.requests).toHaveLength(1);
  });

  test.each([400, 401, 403, 404, 410])(
    'that storage refuses with %d is renewed, once for all reads that wait, and remembered.',
    async (refusal) => {
      const { state, service, storage, resolve, read } = await start();
      const image = await resolve();
      state.refusal = refusal;
      state.signature = 2;
      const reads = await Promise.all(Array.from({ length: 10 }, (_, n) => read(image, n, 100)));
      for (const [n, bytes] of reads.entries()) expect(bytes).toEqual(BYTES.subarray(n, n + 100));
      expect(service.requests).toHaveLength(2);
      const before = storage.requests.length;
      await read(image);
      expect(storage.requests.length - before).toBe(1);
    },
  );

  test.each([
    ['X-Amz-Expires, in seconds', () => '&X-Amz-Expires=900'],
    ['X-Goog-Expires, in seconds', () => '&X-Goog-Expires=900'],
    ['Expires, in seconds since 1970', () => `&Expires=${Math.round(Date.now() / 1000) + 900}`],
    ['se, as a time', () => `&se=${new Date(Date.now() + 900_000).toISOString()}`],
  ])('that says by %s that it has ended is renewed before it is used.', async (_, query) => {
    const { state, service, storage, resolve, read } = await start();
    state.query = query();
    const image = await resolve();
    expect(await read(image)).toEqual(BYTES);
    expect(service.requests).toHaveLength(1);
    const ended = { ...image, handle: { ...image.handle, ends: Date.now() - 1 } };
    expect(image.handle.ends).toBeGreaterThan(Date.now() + 800_000);
    state.signature = 2;
    const before = storage.requests.length;
    expect(await read(ended)).toEqual(BYTES);
    expect(service.requests).toHaveLength(2);
    expect(storage.requests.length - before).toBe(1);
  });

  test('to another version of the image is STALE.', async () => {
    const { state, resolve, read } = await start();
    const image = await resolve();
    state.signature = 2;
    state.version = 'v2';
    await expect(read(image)).rejects.toMatchObject({ code: 'STALE' });
  });

  test('of an image that was removed is STALE.', async () => {
    const { state, resolve, read } = await start();
    const image = await resolve();
    state.signature = 2;
    state.isGone = true;
    await expect(read(image)).rejects.toMatchObject({ code: 'STALE' });
  });

  test('to bytes that were replaced in storage is STALE.', async () => {
    const { state, resolve, read } = await start();
    const image = await resolve();
    state.bytes = randomBytes(BYTES.length + 1);
    await expect(read(image)).rejects.toMatchObject({ code: 'STALE' });
  });

  test('whose size the manifest tells is not looked at before the first read.', async () => {
    const { storage, resolve, read } = await start({ size: BYTES.length });
    const image = await resolve();
    expect(image).toMatchObject({ size: BYTES.length, revision: 'v1' });
    expect(storage.requests).toHaveLength(0);
    expect(await read(image)).toEqual(BYTES);
  });

  test('without a version is looked at, and STALE once its file was replaced.', async () => {
    const { state, storage, resolve, read } = await start({ size: BYTES.length });
    state.version = '';
    const image = await resolve();
    expect(storage.requests).toHaveLength(1);
    expect(await read(image)).toEqual(BYTES);
    state.bytes = randomBytes(BYTES.length);
    state.tag = '"other"';
    await expect(read(image)).rejects.toMatchObject({ code: 'STALE' });
    expect((await resolve()).revision).not.toBe(image.revision);
  });

  test('to storage that does not have the file is the error SERVICE.', async () => {
    const { state, resolve } = await start();
    state.isEmpty = true;
    await expect(resolve()).rejects.toMatchObject({ code: 'SERVICE' });
  });
});

describe('Credentials', () => {
  test('never go to where a link leads, and are not renewed because storage refuses.', async () => {
    const updateToken = vi.fn(() => true);
    const { state, storage, service, resolve, read } = await start({
      headers: { 'private-token': 'secret-of-the-service' },
      authorize: () => ({ authorization: 'Bearer secret-of-the-service' }),
      updateToken,
    });
    const image = await resolve();
    await read(image);
    state.refusal = 401;
    state.signature = 2;
    expect(await read(image)).toEqual(BYTES);
    expect(service.requests.every(({ headers }) => headers.authorization && headers['private-token'])).toBe(
      true,
    );
    expect(storage.requests.length).toBeGreaterThan(2);
    expect(JSON.stringify(storage.requests)).not.toContain('secret-of-the-service');
    expect(updateToken).not.toHaveBeenCalled();
  });
});

test('A link of a service behind a proxy that ends TLS is one of https.', () => {
  const base = new URL('https://hub.example.org/api/');
  expect(parseLink('http://hub.example.org/x.sif', base, 'x').href).toBe('https://hub.example.org/x.sif');
  expect(parseLink('/x.sif', base, 'x').href).toBe('https://hub.example.org/x.sif');
  for (const given of ['file:///etc/passwd', 'http://', 5, undefined])
    expect(() => parseLink(given, base, 'x')).toThrow(expect.objectContaining({ code: 'SERVICE' }));
});
