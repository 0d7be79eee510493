/**
 * Changes images at random and reads them: whatever the bytes are, reading ends soon, with an answer or a
 * SregistryError. Run by hand for as long as wanted, one process a core, each with its own seed:
 *
 *     node test/fuzz/images.ts --minutes 60 --seed 1
 *
 * A failure prints the seed of its input; `--seed THAT --inputs 1` repeats it. test/image/fuzz.test.ts runs a few
 * thousand inputs.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { identify } from '../../src/image/format.ts';
import { files } from '../../src/image/image.ts';
import { inspect } from '../../src/image/inspect.ts';
import { formatImageName, parseFileName, parseImageName } from '../../src/image/names.ts';
import { listSignatures } from '../../src/image/signatures.ts';
import { bytesSource } from '../../src/image/source.ts';
import { SquashFs } from '../../src/image/squashfs/filesystem.ts';
import { extImage, fixture, LAUNCH_LINE, latin1, partitionExtra, sifImage } from '../image/fixtures.ts';
import { type FuzzResult, fuzzByHand, fuzzWith, type Random } from './run.ts';

/** Small images of every kind, to start from. */
function corpus(): Uint8Array[] {
  const folder = join(import.meta.dirname, '../fixtures/squashfs/tiny');
  const packed = ['stored', 'gzip', 'xz', 'lzo', 'lz4', 'zstd'].map((name) =>
    readFileSync(join(folder, `${name}.sqsh`)),
  );
  const [stored = new Uint8Array()] = packed;
  const metadata = Buffer.from('{"data":{"attributes":{"labels":{"a":"1"}}},"type":"container"}');
  const signature = Buffer.from(fixture('small-signed.sif')).subarray(2_441_216);
  const root = { type: 0x4004, data: stored, extra: partitionExtra(1, 2) };
  const launched = Buffer.concat([latin1(LAUNCH_LINE), stored]);
  const described = { type: 0x4006, data: metadata, name: 'inspect-metadata.json' };
  const signed = { type: 0x4005, data: signature, link: 0xf0000001, group: 0 };
  // What is not compressed can be changed with meaning, so it is there more than once.
  return [
    ...packed,
    stored,
    stored,
    launched,
    sifImage([root]),
    sifImage([{ type: 0x4001, data: latin1('Bootstrap: scratch\n') }, root]),
    sifImage([described, root, signed]),
    extImage(4, LAUNCH_LINE),
  ].map((bytes) => new Uint8Array(bytes));
}

const NUMBERS = [
  0n,
  1n,
  2n,
  255n,
  0x7fffn,
  0xffffn,
  0x7fff_ffffn,
  0xffff_ffffn,
  2n ** 53n,
  2n ** 63n - 1n,
  -1n,
  -2n,
];

/** One to eight changes, near the beginning or the end (where the structures are) more often than elsewhere. */
export function mutate(original: Uint8Array, pick: Random): Uint8Array {
  const bytes = new Uint8Array(original);
  const view = new DataView(bytes.buffer);
  const place = (size: number) => {
    const range = [256, 8192, bytes.length][pick(3)] as number;
    const at = pick(Math.min(range, bytes.length));
    return Math.max(0, Math.min(pick(2) === 0 ? at : bytes.length - at, bytes.length - size));
  };
  for (let left = 1 + pick(8); left > 0; left--) {
    const number = NUMBERS[pick(NUMBERS.length)] as bigint;
    switch (pick(6)) {
      case 0:
        bytes[place(1)] = pick(256);
        break;
      case 1:
        view.setUint16(place(2), Number(BigInt.asUintN(16, number)), true);
        break;
      case 2:
        view.setUint32(place(4), Number(BigInt.asUintN(32, number)), true);
        break;
      case 3:
        view.setBigInt64(place(8), number, true);
        break;
      case 4:
        view.setBigInt64(place(8), BigInt(pick(bytes.length + 1)), true);
        break;
      default: {
        const from = place(1);
        bytes.copyWithin(place(1), from, from + pick(256));
      }
    }
  }
  return pick(8) === 0 ? bytes.subarray(0, pick(bytes.length)) : bytes;
}

/** The ways in. Each is given the bytes of a changed image. */
const TARGETS: readonly ((bytes: Uint8Array, pick: Random) => Promise<unknown>)[] = [
  (bytes) => identify(bytesSource(bytes)),
  (bytes) => inspect(bytesSource(bytes)),
  (bytes) => listSignatures(bytesSource(bytes)),
  async (bytes) => {
    for await (const _ of files(bytesSource(bytes)));
  },
  async (bytes) => {
    const fs = await SquashFs.open(bytesSource(bytes));
    for (const path of ['/singularity', '/blocks.txt', '/scif/../fifo']) await fs.readFile(path, 1_000_000);
  },
  async (bytes, pick) => {
    const text = Buffer.from(bytes.subarray(0, pick(64))).toString('latin1');
    parseFileName(`${text}.simg`);
    const { uri } = parseImageName(text);
    if (parseImageName(uri).uri !== uri)
      throw new Error(`${formatImageName(parseImageName(text))} is not stable`);
  },
];

/** Reads `inputs` changed images, or until `deadline` (milliseconds since the epoch). */
export function fuzz(seed: number, inputs: number, deadline?: number): Promise<FuzzResult> {
  const images = corpus();
  const one = async (pick: Random) => {
    const bytes = mutate(images[pick(images.length)] as Uint8Array, pick);
    const target = TARGETS[pick(TARGETS.length)] as (typeof TARGETS)[number];
    await target(bytes, pick);
  };
  return fuzzWith(one, seed, inputs, deadline);
}

if (import.meta.main) await fuzzByHand(fuzz);
