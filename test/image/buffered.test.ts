import { expect, it } from 'vitest';
import { bufferedSource } from '../../src/image/buffered.ts';
import { bytesSource } from '../../src/image/source.ts';

const PAGE = 64 * 1024;
const bytes = Uint8Array.from({ length: 100 * PAGE + 17 }, (_, i) => (i * 7 + (i >> 9)) & 255);

function recording() {
  const reads: [number, number][] = [];
  const plain = bytesSource(bytes);
  const source = bufferedSource({
    size: plain.size,
    read: (offset, length) => {
      reads.push([offset, length]);
      return plain.read(offset, length);
    },
  });
  return { reads, source };
}

it('gives the bytes of the source, wherever and however long', async () => {
  const { source } = recording();
  const places = [
    0,
    1,
    PAGE - 1,
    PAGE,
    PAGE + 1,
    50 * PAGE - 3,
    bytes.length - 5,
    bytes.length,
    bytes.length + 9,
  ];
  for (const offset of places) {
    for (const length of [0, 1, 7, PAGE, 3 * PAGE + 2, 80 * PAGE]) {
      const read = await source.read(offset, length);
      expect(Buffer.compare(read, bytes.subarray(offset, offset + length)), `${offset}+${length}`).toBe(0);
    }
  }
});

it('reads whole pages once, missing neighbours together', async () => {
  const { reads, source } = recording();
  await source.read(PAGE + 10, 5);
  await source.read(PAGE + 500, 5);
  await source.read(0, 4 * PAGE);
  expect(reads).toEqual([
    [PAGE, PAGE],
    [0, PAGE],
    [2 * PAGE, 2 * PAGE],
  ]);
});

it('keeps no more than 64 pages', async () => {
  const { reads, source } = recording();
  for (let page = 0; page < 65; page++) await source.read(page * PAGE, 1);
  await source.read(0, 1);
  expect(reads).toHaveLength(66);
});
