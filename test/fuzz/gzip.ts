/**
 * Changes compressed data at random and holds the scanner of DEFLATE to zlib: what zlib decompresses, the scanner must count right,
 * and what the scanner refuses, zlib must refuse. Run by hand as images.ts:
 *
 *     node test/fuzz/gzip.ts --minutes 60 --seed 1
 */
import { setImmediate } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { constants, crc32, deflateRawSync, inflateRawSync } from 'node:zlib';
import { SregistryError } from '../../src/base/errors.ts';
import { GzipScanner } from '../../src/image/layers/gzip.ts';
import { mutate, type Random, random } from './images.ts';

/** Milliseconds of processor time one input may take. */
const SLOW = 2000;
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

/** Does the scanner take the data? Throws if zlib is of another opinion. */
function check(data: Uint8Array, pick: Random): boolean {
  const inflated = inflate(data);
  if ('output' in inflated) {
    const { output, taken } = inflated;
    const { size, compressedSize } = scan(memberOf(data.subarray(0, taken), output), pick);
    if (size !== output.length || compressedSize !== HEADER.length + taken + 8)
      throw new Error(`${size} bytes of ${compressedSize}; zlib: ${output.length} of ${taken}`);
    return true;
  }
  try {
    scan(memberOf(data, Buffer.alloc(0)), pick);
  } catch (error) {
    if (!(error instanceof SregistryError) || error.message === '') throw error;
    // Behind data that the scanner took, it misses the trailer. Only distances are nothing to it.
    const took = /^(?:a gzip|the gzip file)/.test(error.message);
    if (!took || /too far back|unexpected end|larger than/.test(inflated.refusal)) return false;
    throw error;
  }
  throw new Error(`the scanner takes what zlib refuses: ${inflated.refusal}`);
}

export interface FuzzResult {
  readonly inputs: number;
  /** How many the scanner took. */
  readonly answers: number;
}

/**
 * Scans `inputs` changed files, or until `deadline` (milliseconds since the epoch).
 * @throws {Error} naming the seed of the input that broke the promise.
 */
export async function fuzzGzip(
  seed: number,
  inputs: number,
  deadline = Number.POSITIVE_INFINITY,
): Promise<FuzzResult> {
  let [done, answers] = [0, 0];
  for (; done < inputs && Date.now() < deadline; done++) {
    const pick = random(seed + done);
    const data = compress(material(pick(pick(4) === 0 ? 100_000 : 2000), pick), pick);
    const changed =
      pick(10) === 0 ? data : new Uint8Array(mutate(Buffer.concat([data, Buffer.alloc(8)]), pick));
    const started = process.cpuUsage();
    try {
      if (check(changed, pick)) answers++;
    } catch (cause) {
      throw new Error(`The input of seed ${seed + done} broke the promise`, { cause });
    }
    const { user, system } = process.cpuUsage(started);
    if ((user + system) / 1000 > SLOW) throw new Error(`The input of seed ${seed + done} took too long`);
    if (done % 100 === 0) await setImmediate();
  }
  return { inputs: done, answers };
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string', default: '1' },
      inputs: { type: 'string', default: 'Infinity' },
      minutes: { type: 'string', default: '1' },
    },
  });
  const seed = Number(values.seed) < 1000 ? Number(values.seed) * 1e9 : Number(values.seed);
  console.log(await fuzzGzip(seed, Number(values.inputs), Date.now() + Number(values.minutes) * 60_000));
}
