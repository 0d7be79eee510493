/** An image that is replaced while it is read: the bytes of one revision, or STALE. */
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import { isError } from '../../../src/base/errors.ts';
import { cutAfter } from '../../servers/fault-proxy.ts';
import { type Bench, content, sha256 } from './bench.ts';

const SIZE = 4 * 1024 * 1024;

export function revisions(at: () => Bench, http: boolean): void {
  test('an image that is replaced has another revision, also when its size is the same', async () => {
    const { image } = await at().image();
    await at().store(image.name, content(image.size));
    const replaced = await at().resolve(image.name);
    expect(replaced.revision).not.toBe(image.revision);
  });

  test('a replaced image gives its new bytes', async () => {
    const { image } = await at().image();
    const bytes = content(70_000);
    await at().store(image.name, bytes);
    expect(sha256(await at().read(await at().resolve(image.name)))).toBe(sha256(bytes));
  });

  test('what was resolved before gives the old bytes, or is STALE', async () => {
    const { image, bytes } = await at().image();
    await at().store(image.name, content(image.size));
    await expectOldOrStale(at().read(image, 10, 1000), bytes.subarray(10, 1010));
    await expectOldOrStale(at().read(image), bytes);
  });

  test('an image replaced by a shorter one gives the old bytes, or is STALE', async () => {
    const { image, bytes } = await at().image();
    await at().store(image.name, content(1000));
    await expectOldOrStale(at().read(image, 50_000, 1000), bytes.subarray(50_000, 51_000));
  });

  test('a read that is under way goes on with the old bytes, or is STALE', async () => {
    const { image, bytes } = await at().image(at().name(), content(SIZE));
    const stream = await at().backend.read(image, 0, SIZE);
    const start = await begin(stream);
    await at().store(image.name, content(SIZE));
    await expectOldOrStale(rest(start, stream), bytes);
  });

  if (!http) return;

  test('a read whose connection breaks after the replacement gives the old bytes, or is STALE', async () => {
    const { image, bytes } = await at().image(at().name(), content(SIZE));
    const replaced = Promise.withResolvers<void>();
    at().proxy.inject(cutAfter(100_000, replaced.promise), { match: ({ method }) => method === 'GET' });
    const stream = await at().backend.read(image, 0, SIZE);
    const start = await begin(stream);
    await at().store(image.name, content(SIZE));
    replaced.resolve();
    await expectOldOrStale(rest(start, stream), bytes);
  });
}

/** The first bytes of a stream, which then waits. */
async function begin(stream: Readable): Promise<Buffer> {
  await once(stream, 'readable');
  return stream.read() as Buffer;
}

async function rest(start: Buffer, stream: Readable): Promise<Buffer> {
  return Buffer.concat([start, await buffer(stream)]);
}

async function expectOldOrStale(read: Promise<Buffer>, old: Buffer): Promise<void> {
  const outcome = await read.then(sha256, (error: unknown) => (isError(error) ? error.code : String(error)));
  expect([sha256(old), 'STALE']).toContain(outcome);
}
