/**
 * Changes compressed data at random and holds the scanner of DEFLATE to zlib: what zlib decompresses, the scanner must count right,
 * and what the scanner refuses, zlib must refuse. Run by hand as images.ts:
 *
 *     node test/fuzz/gzip.ts --minutes 60 --seed 1
 */
import { constants, crc32, deflateRawSync, inflateRawSync, zstdCompressSync } from 'node:zlib';
import { SregistryError } from '../../src/base/errors.ts';
import { GzipScanner } from '../../src/image/layers/gzip.ts';
import { PointFinder, type Points } from '../../src/image/layers/points.ts';
import { type Restart, RestartSpans } from '../../src/image/layers/restart.ts';
import { digestOf } from '../servers/layered.ts';
import { mutate } from './images.ts';
import { type FuzzResult, fuzzByHand, fuzzWith, type Random } from './run.ts';

/** A bomb of more is no use here. */
const MAX_OUTPUT = 64 * 1024 * 1024;
const HEADER = Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]);
const STRATEGIES = [
  constants.Z_DEFAULT_STRATEGY,
  constants.Z_FILTERED,
  constants.Z_HUFFMAN_ONLY,
  constants.Z_RLE,
  constants.Z_FIXED,
];

/** Bytes that compress in many ways: text, noise, runs, copies from far away. */
export function material(size: number, pick: Random): Buffer {
  const bytes = Buffer.alloc(size);
  for (let at = 0; at < size; ) {
    const length = Math.min(size - at, 1 + pick(pick(2) === 0 ? 300 : 40_000));
    const kind = pick(4);
    if (kind === 0) for (let i = 0; i < length; i++) bytes[at + i] = pick(256);
    else if (kind === 1) bytes.fill(pick(256), at, at + length);
    else if (kind === 2) for (let i = 0; i < length; i++) bytes[at + i] = 97 + pick(4) * pick(5);
    else if (at > 0)
      for (let i = 0, from = pick(at); i < length; i++) bytes[at + i] = bytes[from + i] as number;
    at += length;
  }
  return bytes;
}

/** Compresses with any parameters. */
export function compress(bytes: Buffer, pick: Random): Buffer {
  const strategy = STRATEGIES[pick(STRATEGIES.length)] as number;
  return deflateRawSync(bytes, { level: pick(10), memLevel: 1 + pick(9), windowBits: 9 + pick(7), strategy });
}

/** What zlib makes of the data, and how much of it that took; or why it refuses. */
function inflate(data: Uint8Array): { output: Buffer; taken: number } | { refusal: string } {
  try {
    const result: unknown = inflateRawSync(data, { maxOutputLength: MAX_OUTPUT, info: true });
    const { buffer, engine } = result as { buffer: Buffer; engine: { bytesWritten: number } };
    return { output: buffer, taken: engine.bytesWritten };
  } catch (error) {
    return { refusal: (error as Error).message };
  }
}

/** A gzip file of one member, with the checksum and size of `output`. */
export function memberOf(data: Uint8Array, output: Uint8Array): Buffer {
  const trailer = Buffer.alloc(8);
  trailer.writeUInt32LE(crc32(output));
  trailer.writeUInt32LE(output.length, 4);
  return Buffer.concat([HEADER, data, trailer]);
}

/** Scans a file that comes in pieces of any size. */
export function scan(file: Uint8Array, pick: Random): GzipScanner {
  const scanner = new GzipScanner(() => {});
  for (let at = 0; at < file.length; ) {
    const length = 1 + pick(pick(2) === 0 ? 20 : 70_000);
    scanner.push(file.subarray(at, at + length));
    at += length;
  }
  scanner.end();
  return scanner;
}

/** Scans changed data. Throws an error that is not ours if zlib is of another opinion. */
async function check(pick: Random): Promise<void> {
  const whole = compress(material(pick(pick(4) === 0 ? 100_000 : 2000), pick), pick);
  const data = pick(10) === 0 ? whole : mutate(Buffer.concat([whole, Buffer.alloc(8)]), pick);
  const inflated = inflate(data);
  if ('output' in inflated) {
    checkTaken(data, inflated.output, inflated.taken, pick);
    return;
  }
  try {
    scan(memberOf(data, Buffer.alloc(0)), pick);
  } catch (error) {
    // Behind data that the scanner took, it misses the trailer. Only distances are nothing to it.
    const took = error instanceof SregistryError && /^(?:a gzip|the gzip file)/.test(error.message);
    if (!took || /too far back|unexpected end|larger than/.test(inflated.refusal)) throw error;
  }
  throw new Error(`the scanner takes what zlib refuses: ${inflated.refusal}`);
}

function checkTaken(data: Uint8Array, output: Buffer, taken: number, pick: Random): void {
  const file = memberOf(data.subarray(0, taken), output);
  let found: unknown;
  try {
    const { size, compressedSize } = scan(file, pick);
    found = [size, compressedSize];
  } catch (error) {
    found = error;
  }
  if (String(found) !== String([output.length, file.length]))
    throw new Error(`zlib takes ${file.length} bytes and gives ${output.length}`, { cause: found });
}

/** The points of a blob that a registry sends in pieces of any size. */
export function pointsOf(blob: Uint8Array, spanSize: number, pick: Random): Points {
  const finder = new PointFinder(spanSize);
  for (let at = 0; at < blob.length; ) {
    const length = 1 + pick(30_000);
    finder.push(blob.subarray(at, at + length));
    at += length;
  }
  return finder.end();
}

/** The spans with what the recorder adds. */
export function spansOf(blob: Uint8Array, archive: Buffer, spanSize: number, pick: Random): RestartSpans {
  const { points, size, storedSize } = pointsOf(blob, spanSize, pick);
  const restarts = points.map((point, i): Restart => {
    const bytes = archive.subarray(point.offset, points[i + 1]?.offset ?? size);
    const window = zstdCompressSync(archive.subarray(Math.max(0, point.offset - 32_768), point.offset));
    return { ...point, sha256: digestOf(bytes).slice(7), window };
  });
  return new RestartSpans(restarts, size, storedSize);
}

/** A gzip file of some members, of any parameters. */
export function gzipFile(archive: Buffer, pick: Random): Buffer {
  const members: Buffer[] = [];
  for (let at = 0; at < archive.length; ) {
    const part = archive.subarray(at, at + 1 + pick(pick(2) === 0 ? 2000 : archive.length));
    members.push(memberOf(compress(part, pick), part));
    at += part.length;
  }
  return Buffer.concat(members);
}

/** Decompresses a span of any file from changed bytes: that gives the right ones, or an error. */
async function resume(pick: Random): Promise<void> {
  const archive = material(1 + pick(100_000), pick);
  const blob = gzipFile(archive, pick);
  const spans = spansOf(blob, archive, 1 + pick(20_000), pick);
  const index = pick(spans.count);
  const { at, length, from, stored } = spans.span(index);
  const right = Buffer.concat([blob.subarray(from, from + stored), Buffer.alloc(8)]);
  const decoded = await spans.decode(index, pick(4) === 0 ? right : Buffer.from(mutate(right, pick)));
  if (!archive.subarray(at, at + length).equals(decoded)) throw new Error('wrong bytes were taken');
}

/** Scans `inputs` changed files, or until `deadline` (milliseconds since the epoch). */
export function fuzz(seed: number, inputs: number, deadline?: number): Promise<FuzzResult> {
  return fuzzWith((pick) => (pick(10) === 0 ? resume(pick) : check(pick)), seed, inputs, deadline);
}

if (import.meta.main) await fuzzByHand(fuzz);
