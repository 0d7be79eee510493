import { expect, test } from 'vitest';
import { ReadAhead } from '../../src/cache/read-ahead.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

/** Bytes beyond each read that its plan would fetch. */
function beyond(ahead: ReadAhead, reads: readonly (readonly [offset: number, length: number])[]): number[] {
  return reads.map(([offset, length]) => ahead.plan(offset, length).until - (offset + length));
}

test('reads here and there each fetch a little', () => {
  const ahead = new ReadAhead(1000 * MIB);
  const reads = [100, 700, 3, 999, 400].map((at) => [at * MIB, 4 * KIB] as const);
  for (const more of beyond(ahead, reads)) expect(more).toBeLessThanOrEqual(256 * KIB);
});

test('the window of sequential reads doubles up to 32 MiB', () => {
  const ahead = new ReadAhead(1000 * MIB);
  const reads = Array.from({ length: 800 }, (_, i) => [i * 128 * KIB, 128 * KIB] as const);
  const windows = beyond(ahead, reads);
  expect(windows[0]).toBeLessThanOrEqual(256 * KIB);
  expect(Math.max(...windows)).toBeLessThanOrEqual(32 * MIB);
  expect(Math.max(...windows.slice(-200))).toBeGreaterThan(16 * MIB);
});

test('the next window is asked for before the last one is used up', () => {
  const ahead = new ReadAhead(1000 * MIB);
  let planned = 0;
  for (let offset = 0; offset < 64 * MIB; offset += 128 * KIB) {
    const { until } = ahead.plan(offset, 128 * KIB);
    if (offset > MIB) expect(planned).toBeGreaterThanOrEqual(offset + 128 * KIB);
    planned = until;
  }
});

test('reads that the kernel sends out of order are still sequential', () => {
  const ahead = new ReadAhead(1000 * MIB);
  const order = Array.from({ length: 400 }, (_, i) => (i % 2 === 0 ? i + 1 : i - 1));
  const windows = beyond(
    ahead,
    order.map((i) => [i * 128 * KIB, 128 * KIB] as const),
  );
  expect(Math.max(...windows)).toBeGreaterThan(4 * MIB);
});

test('a jump starts again with the small window', () => {
  const ahead = new ReadAhead(1000 * MIB);
  for (let i = 0; i < 200; i += 1) ahead.plan(i * 128 * KIB, 128 * KIB);
  expect(ahead.plan(900 * MIB, 128 * KIB).until - 900 * MIB).toBeLessThanOrEqual(256 * KIB);
});

test('nothing is planned beyond the end of the image', () => {
  const ahead = new ReadAhead(MIB + 1);
  for (let offset = 0; offset < MIB; offset += 128 * KIB)
    expect(ahead.plan(offset, 128 * KIB).until).toBeLessThanOrEqual(MIB + 1);
});

test('a small cache gets a small window', () => {
  const ahead = new ReadAhead(1000 * MIB, MIB);
  const reads = Array.from({ length: 400 }, (_, i) => [i * 128 * KIB, 128 * KIB] as const);
  expect(Math.max(...beyond(ahead, reads))).toBeLessThanOrEqual(MIB);
});
