/** Ranges: exactly the bytes asked for. */
import { buffer } from 'node:stream/consumers';
import { beforeAll, expect, test } from 'vitest';
import type { RemoteImage } from '../../../src/backends/backend.ts';
import { type Bench, content, expectSame } from './bench.ts';

const SIZE = 3 * 1024 * 1024 + 17;

export function reading(at: () => Bench): void {
  let image: RemoteImage;
  let bytes: Buffer;
  beforeAll(async () => {
    ({ image, bytes } = await at().image(at().name(), content(SIZE)));
  });

  test.each([
    ['the first byte', 0, 1],
    ['the first block', 0, 65_536],
    ['a middle', 1_000_001, 70_000],
    ['one byte in the middle', 1_500_000, 1],
    ['the last byte', SIZE - 1, 1],
    ['the end', SIZE - 1000, 1000],
    ['all of it', 0, SIZE],
  ])('%s', async (_what, offset, length) => {
    expectSame(await at().read(image, offset, length), bytes.subarray(offset, offset + length));
  });

  test.each([0, 1000, SIZE])('nothing, at byte %d, when the length is zero', async (offset) => {
    expect(await at().read(image, offset, 0)).toHaveLength(0);
  });

  test('no more than there is: a range beyond the end is an error or ends there', async () => {
    const tail = bytes.subarray(SIZE - 10);
    const read = await at()
      .read(image, SIZE - 10, 20)
      .catch(() => tail);
    expectSame(read, tail);
    const beyond = await at()
      .read(image, SIZE + 10, 10)
      .catch(() => Buffer.alloc(0));
    expect(beyond).toHaveLength(0);
  });

  test('many ranges at once, each its own', async () => {
    const offsets = Array.from({ length: 24 }, (_, number) => number * 120_011);
    const parts = await Promise.all(offsets.map((offset) => at().read(image, offset, 100_000)));
    parts.forEach((part, number) => {
      const offset = offsets[number] as number;
      expectSame(part, bytes.subarray(offset, offset + 100_000));
    });
  });

  test('as slowly as it is read', async () => {
    const stream = await at().backend.read(image, 0, SIZE);
    stream.pause();
    expectSame(await buffer(stream), bytes);
  });

  test('on, after another reader gave up', async () => {
    const abandoned = await at().backend.read(image, 0, SIZE);
    abandoned.destroy();
    expectSame(await at().read(image, 0, 1000), bytes.subarray(0, 1000));
  });
}
