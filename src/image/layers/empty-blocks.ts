/**
 * Lets zlib begin at any bit of a byte. A block of DEFLATE may begin there, and the bytes of stored blocks keep their places, so the
 * data cannot be shifted. zlib has `inflatePrime` for this, and Node's has not. So blocks that hold nothing come first: together they
 * have as many bits, modulo 8, as the byte has before the point.
 */
import { ORDER } from './deflate.ts';

/** A number, and how many bits it has. */
type Field = readonly [value: number, bits: number];

/** An empty block of 10 bits: fixed codes, and the end (RFC 1951, 3.2.6). */
const EVEN: readonly Field[] = [
  [0, 1],
  [1, 2],
  [0, 7],
];

/** An empty block of 93 bits, as odd as fields of one bit make it: dynamic codes, and the end (RFC 1951, 3.2.7). */
const ODD: readonly Field[] = [
  [0, 1],
  [2, 2],
  // 257 literals, of which only the end has a code, and one distance.
  [0, 5],
  [0, 5],
  // All lengths have codes: `1` means many zeros, `0` the length 1.
  [ORDER.length - 4, 4],
  ...ORDER.map((symbol): Field => [symbol === 1 || symbol === 18 ? 1 : 0, 3]),
  // 138 and 118 literals without a code; the end and the distance have one bit.
  [1, 1],
  [127, 7],
  [1, 1],
  [107, 7],
  [0, 1],
  [0, 1],
  [0, 1],
];

/** What comes before a point at bit 0 to 7. Its last byte is complete with the bits from the point on. */
const PREFIXES: readonly Buffer[] = [0, 1, 2, 3, 4, 5, 6, 7].map((bit) => {
  const blocks = bit % 2 === 0 ? [] : [ODD];
  const lengthOf = (fields: readonly Field[]) => fields.reduce((sum, [, bits]) => sum + bits, 0);
  while (lengthOf(blocks.flat()) % 8 !== bit) blocks.push(EVEN);
  return packed(blocks.flat());
});

/** The fields from the lowest bit of the first byte on, as RFC 1951 orders them. */
function packed(fields: readonly Field[]): Buffer {
  const bits = fields.flatMap(([value, length]) => Array.from({ length }, (_, i) => (value >> i) & 1));
  const bytes = Buffer.alloc(Math.ceil(bits.length / 8));
  bits.forEach((bit, i) => {
    bytes[i >> 3] = (bytes[i >> 3] as number) | (bit << (i & 7));
  });
  return bytes;
}

/**
 * Data for inflate.
 * @param start `byte` is the one before `stored`, and its highest `bits` (0 to 7) belong to the data.
 */
export function fromBit(start: { readonly bits: number; readonly byte: number }, stored: Buffer): Buffer {
  const { bits, byte } = start;
  if (bits === 0) return stored;
  const prefix = Buffer.from(PREFIXES[8 - bits] as Buffer);
  const last = prefix.length - 1;
  prefix[last] = (prefix[last] as number) | (byte & (0xff << (8 - bits)));
  return Buffer.concat([prefix, stored]);
}
