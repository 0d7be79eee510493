import { describe, expect, it } from 'vitest';
import { BLOCK_SIZE } from '../../src/cache/block-map.ts';
import {
  formatTrace,
  isCopy,
  MAX_BYTES,
  MAX_RANGES,
  mergeTraces,
  parseTrace,
  requestsOf,
} from '../../src/cache/trace.ts';
import { MIB } from './support.ts';

const SIZE = 700 * MIB;
const blocks = (from: number, count: number) => Array.from({ length: count }, (_, i) => from + i);
const bytesOf = (trace: ReadonlySet<number>) => trace.size * BLOCK_SIZE;

describe('a start-up trace', () => {
  it('keeps ranges in order of their first use', () => {
    const trace = new Set([...blocks(0, 3), 900, ...blocks(40, 2)]);
    const text = formatTrace(trace);
    expect(JSON.parse(text)).toEqual([
      [0, 3 * BLOCK_SIZE],
      [900 * BLOCK_SIZE, BLOCK_SIZE],
      [40 * BLOCK_SIZE, 2 * BLOCK_SIZE],
    ]);
    expect([...parseTrace(text, SIZE)]).toEqual([...trace]);
  });

  it('keeps the last block of an image, which is not a whole one', () => {
    const size = 2 * BLOCK_SIZE + 5;
    expect([...parseTrace(formatTrace(new Set([2])), size)]).toEqual([2]);
  });

  it.each([
    ['no JSON', '[[0,'],
    ['no list', '{"0": 65536}'],
    ['texts', '[["0", "65536"]]'],
    ['ranges without a length', '[[0]]'],
    ['ranges of nothing', '[[0, 0]]'],
    ['negative offsets', '[[-65536, 65536]]'],
    ['fractions', '[[0.5, 65536]]'],
    ['numbers that are too large', '[[9007199254740991, 9007199254740991]]'],
    ['ranges behind the end of the image', `[[${SIZE}, 1]]`],
    ['ranges that leave the image', `[[${SIZE - 1}, 65536]]`],
  ])('takes nothing from %s', (_, text) => {
    expect(parseTrace(text, SIZE).size).toBe(0);
  });

  it('never covers more than its limits, whatever a text claims', () => {
    expect(bytesOf(parseTrace(`[[0, ${SIZE}]]`, SIZE))).toBe(MAX_BYTES);
    const many = Array.from({ length: 100 }, () => [0, SIZE]);
    expect(bytesOf(parseTrace(JSON.stringify(many), SIZE))).toBe(MAX_BYTES);
    const long = Array.from({ length: 100_000 }, (_, i) => [i * BLOCK_SIZE, 1]);
    expect(parseTrace(JSON.stringify(long), SIZE).size).toBe(0);
    const short = Array.from({ length: MAX_RANGES + 9 }, (_, i) => [i, 1]);
    expect(parseTrace(JSON.stringify(short), SIZE).size).toBe(1);
  });

  it('can be read again when it is as large as it may be', () => {
    const scattered = new Set(blocks(0, MAX_BYTES / BLOCK_SIZE).map((block) => block * 3));
    expect(parseTrace(formatTrace(scattered), SIZE)).toEqual(scattered);
  });

  it('drops what the last start did not touch where it becomes too large', () => {
    const full = new Set(blocks(0, MAX_BYTES / BLOCK_SIZE));
    const merged = mergeTraces(full, new Set([1, 5000]));
    expect(bytesOf(merged)).toBe(MAX_BYTES);
    expect(merged.has(0)).toBe(false);
    expect([...merged].slice(0, 2)).toEqual([1, 2]);
    expect(merged.has(5000)).toBe(true);
  });

  it('is not made of a copy', () => {
    expect(isCopy(new Set(blocks(0, MAX_BYTES / BLOCK_SIZE)))).toBe(true);
    expect(isCopy(new Set(blocks(0, 100)))).toBe(false);
    expect(isCopy(new Set(blocks(0, MAX_BYTES / BLOCK_SIZE).map((block) => block * 2)))).toBe(false);
  });

  it('asks for neighbours together, for no more than 1 MiB at once, in order of use', () => {
    expect(requestsOf(new Set([0, 1, 3, 50, 2, 49]))).toEqual([
      { first: 0, last: 3 },
      { first: 49, last: 50 },
    ]);
    const requests = requestsOf(new Set(blocks(0, 40)));
    expect(requests.map(({ first, last }) => last - first + 1)).toEqual([16, 16, 8]);
  });
});
