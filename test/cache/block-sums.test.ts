import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { BLOCK_SIZE } from '../../src/cache/block-map.ts';
import { BlockSums } from '../../src/cache/block-sums.ts';

test('the checksums of blocks are the same however the bytes come', () => {
  const bytes = Buffer.alloc(3 * BLOCK_SIZE + 17, 'some bytes that differ from block to block ');
  const wanted = [0, 1, 2, 3].map((i) => crc32(bytes.subarray(i * BLOCK_SIZE, (i + 1) * BLOCK_SIZE)));
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 2 * BLOCK_SIZE }), { minLength: 1 }), (lengths) => {
      const sums = new BlockSums();
      for (let at = 0, i = 0; at < bytes.length; i++) {
        const length = lengths[i % lengths.length] as number;
        sums.update(bytes.subarray(at, at + length));
        at += length;
      }
      expect(sums.finish()).toEqual(wanted);
    }),
    { numRuns: 50 },
  );
  expect(new BlockSums().finish()).toEqual([]);
});

test('a file that ends with a block has no further one', () => {
  const sums = new BlockSums();
  sums.update(Buffer.alloc(2 * BLOCK_SIZE));
  expect(sums.finish()).toHaveLength(2);
});
