/** The scanner of gzip files, held to zlib. */
import { deflateRawSync, gunzipSync, gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { SregistryError } from '../../../src/base/errors.ts';
import { type GzipPlace, GzipScanner } from '../../../src/image/layers/gzip.ts';
import { fuzz, material, memberOf } from '../../fuzz/gzip.ts';
import { random } from '../../fuzz/run.ts';

function placesOf(file: Uint8Array): { places: GzipPlace[]; scanner: GzipScanner } {
  const places: GzipPlace[] = [];
  const scanner = new GzipScanner((place) => places.push(place));
  scanner.push(file);
  scanner.end();
  return { places, scanner };
}

const members = (places: readonly GzipPlace[]) => places.filter(({ kind }) => kind === 'member');

test('what zlib takes is counted right, and what is refused zlib refuses as well', async () => {
  const { inputs, answers } = await fuzz(20_260_701, 1500);
  expect(inputs).toBe(1500);
  expect(answers).toBeGreaterThan(300);
  expect(answers).toBeLessThan(1300);
});

test('each member is found, with every field that a header may have', () => {
  const data = deflateRawSync('abc');
  const plain = memberOf(data, Buffer.from('abc'));
  const [header, body] = [Buffer.from(plain.subarray(0, 10)), plain.subarray(10)];
  // RFC 1952, 2.3.1: all of FHCRC, FEXTRA, FNAME, FCOMMENT.
  header[3] = 2 | 4 | 8 | 16;
  const extra = Buffer.alloc(2 + 40_000, 1);
  extra.writeUInt16LE(40_000);
  const name = Buffer.from(`${'n'.repeat(100_000)}\0comment\0`);
  const full = Buffer.concat([header, extra, name, Buffer.alloc(2), body]);
  const { places, scanner } = placesOf(Buffer.concat([plain, full, plain]));
  const start = { kind: 'member', bit: 0, byte: 0x1f };
  expect(members(places)).toEqual([
    { ...start, at: 0, offset: 0 },
    { ...start, at: plain.length, offset: 3 },
    { ...start, at: plain.length + full.length, offset: 6 },
  ]);
  expect(scanner.size).toBe(9);
});

test('zeros behind the last member are passed over, as zlib does', () => {
  const file = gzipSync('abc');
  const padded = Buffer.concat([file, Buffer.alloc(5000)]);
  expect(gunzipSync(padded).toString()).toBe('abc');
  const { scanner } = placesOf(padded);
  expect(scanner.size).toBe(3);
  expect(scanner.compressedSize).toBe(file.length);
});

test('every truncated file is an error', () => {
  const file = gzipSync(material(30_000, random(1)));
  for (let length = 0; length < file.length; length += length < 40 ? 1 : 97)
    expect(() => placesOf(file.subarray(0, length)), `${length} bytes`).toThrow(SregistryError);
});

/** Fields of a block as RFC 1951 orders them: each number from its lowest bit. */
function bits(...fields: [value: number, count: number][]): Buffer {
  const bytes = Buffer.alloc(100);
  let at = 0;
  for (const [value, count] of fields)
    for (let i = 0; i < count; i++, at++)
      if ((value >> i) & 1) bytes[at >> 3] = (bytes[at >> 3] as number) | (1 << (at & 7));
  return bytes;
}

/** A last, dynamic block of so many symbols, with these lengths of the codes of lengths, in the order they are stored. */
const dynamic = (literals: number, distances: number, lengths: number[]): [number, number][] => [
  [1, 1],
  [2, 2],
  [literals - 257, 5],
  [distances - 1, 5],
  [lengths.length - 4, 4],
  ...lengths.map((length): [number, number] => [length, 3]),
];

test.each([
  ['a block of the reserved type', /no known type/, bits([1, 1], [3, 2])],
  ['a stored block of two lengths', /two lengths/, bits([1, 8], [5, 16], [5, 16])],
  ['too many symbols', /too many length or distance/, bits(...dynamic(287, 1, [1, 1, 0, 0]))],
  ['oversubscribed codes', /too many length codes/, bits(...dynamic(257, 1, [1, 1, 1, 0]))],
  ['incomplete codes', /lacks length codes/, bits(...dynamic(257, 1, [2, 2, 0, 0]))],
  ['a length repeated before the first', /before the first/, bits(...dynamic(257, 1, [1, 0, 0, 1]), [1, 1])],
  [
    'lengths for more symbols',
    /more lengths/,
    bits(...dynamic(257, 1, [0, 0, 1, 1]), [1, 1], [127, 7], [1, 1], [127, 7]),
  ],
  [
    'a block without an end',
    /no end/,
    bits(...dynamic(257, 1, [0, 0, 1, 1]), [1, 1], [127, 7], [1, 1], [109, 7]),
  ],
  ['a length that does not exist', /length that does not exist/, bits([1, 1], [1, 2], [0b01100011, 8])],
])('%s is an error', (_, why, data) => {
  const file = memberOf(data, Buffer.alloc(0));
  expect(() => gunzipSync(file)).toThrow();
  expect(() => placesOf(file)).toThrow(why);
});

test('what is no gzip file is an error', () => {
  const file = gzipSync('abc');
  expect(() => placesOf(Buffer.concat([file, Buffer.from('garbage garbage')]))).toThrow(/header/);
  expect(() => placesOf(Buffer.from(file).fill(0x20, 3, 4))).toThrow(/flags/);
  const wrongSize = Buffer.from(file);
  wrongSize.writeUInt32LE(4, file.length - 4);
  expect(() => placesOf(wrongSize)).toThrow(/another size/);
});
