/** A network and a service that fail now and then: the right bytes all the same, or an error; never wrong bytes. */
import { beforeAll, expect, test } from 'vitest';
import type { RemoteImage } from '../../../src/backends/backend.ts';
import { answer, cutAfter, hang, shiftRange, stallAfter, truncateTo } from '../../servers/fault-proxy.ts';
import type { Lacks } from '../conformance.ts';
import { type Bench, content, expectSame } from './bench.ts';

const SIZE = 2 * 1024 * 1024;
const isGet = ({ method }: { method?: string | undefined }) => method === 'GET';

export function faults(at: () => Bench, lacks: Lacks): void {
  let image: RemoteImage;
  let bytes: Buffer;
  beforeAll(async () => {
    ({ image, bytes } = await at().image(at().name(), content(SIZE)));
  });

  const range = (offset = 1000, length = SIZE - 2000) => ({
    read: () => at().read(image, offset, length),
    expected: bytes.subarray(offset, offset + length),
  });

  test.each([429, 500, 502, 503, 504])('a status of %d is asked again', async (status) => {
    const { read, expected } = range();
    at().proxy.inject(answer(status));
    expect((await at().resolve(image.name)).revision).toBe(image.revision);
    at().proxy.inject(answer(status));
    expectSame(await read(), expected);
  });

  test.each([429, 503])(
    'a status of %d with Retry-After is asked again when the service said',
    async (status) => {
      at().proxy.inject(answer(status, { 'retry-after': '1' }));
      const before = at().requests;
      await at().resolve(image.name);
      const [refused, ...others] = at().proxy.requests.slice(before);
      const again = others.find(({ method, url }) => method === refused?.method && url === refused.url);
      expect((again?.at ?? 0) - (refused?.at ?? 0)).toBeGreaterThan(990);
    },
  );

  test.each([0, 1, 100_000])('a connection reset after %d bytes goes on where it broke', async (after) => {
    const { read, expected } = range();
    at().proxy.inject(cutAfter(after), { match: isGet });
    expectSame(await read(), expected);
  });

  test('three resets in a row are borne', async () => {
    const { read, expected } = range();
    at().proxy.inject(cutAfter(100_000), { match: isGet, times: 3 });
    expectSame(await read(), expected);
  });

  if (lacks.ranges === undefined) {
    test('a body that ends early is completed', async () => {
      const { read, expected } = range();
      at().proxy.inject(truncateTo(100_000), { match: isGet });
      expectSame(await read(), expected);
    });
  } else {
    test('a file that is shorter than it was is STALE', async () => {
      const { read } = range();
      at().proxy.inject(truncateTo(100_000), { match: isGet });
      await expect(read()).rejects.toMatchObject({ code: 'STALE' });
    });
  }

  test('a body that always ends at once is an error', async () => {
    const { read } = range();
    at().proxy.inject(truncateTo(0), { match: isGet, times: 100 });
    await expect(read()).rejects.toMatchObject({ name: 'SregistryError' });
  });

  if (lacks.ranges === undefined) {
    test('another range than the one asked for is an error', async () => {
      const { read } = range();
      at().proxy.inject(shiftRange, { match: isGet, times: 100 });
      await expect(read()).rejects.toMatchObject({ name: 'SregistryError' });
    });
  } else {
    test(`no range is asked for: ${lacks.ranges}`, async () => {
      const before = at().requests;
      const { read, expected } = range();
      expectSame(await read(), expected);
      for (const { headers } of at().proxy.requests.slice(before)) expect(headers.range).toBeUndefined();
    });
  }

  test('a transfer that stalls goes on over another connection', async () => {
    const backend = await at().connect({ SREGISTRY_TIMEOUT: '2' });
    at().proxy.inject(stallAfter(100_000), { match: isGet });
    expectSame(await at().read(image, 0, SIZE, backend), bytes);
  });

  test('a service that answers nothing ends in TIMED_OUT', async () => {
    const backend = await at().connect({ SREGISTRY_TIMEOUT: '1' });
    at().proxy.inject(hang, { times: 100 });
    await expect(backend.resolve(image.name)).rejects.toMatchObject({ code: 'TIMED_OUT' });
    await expect(at().read(image, 0, 1000, backend)).rejects.toMatchObject({ code: 'TIMED_OUT' });
  });

  test('a service that is gone in the middle of a read is an error', async () => {
    const backend = await at().connect({ SREGISTRY_TIMEOUT: '2' });
    at().proxy.inject(cutAfter(1000), { match: isGet });
    at().proxy.inject(cutAfter(0), { times: 100 });
    await expect(at().read(image, 0, SIZE, backend)).rejects.toMatchObject({
      code: expect.stringMatching(/^(UNREACHABLE|TIMED_OUT)$/),
    });
  });
}
