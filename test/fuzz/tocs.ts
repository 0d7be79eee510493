/**
 * Reads layers by tables of contents that were changed at random: whatever a table says, reading it and the layer ends soon, with what
 * the table says or a SregistryError. Run by hand for as long as wanted, one process a core, each with its own seed:
 *
 *     node test/fuzz/tocs.ts --minutes 30 --seed 1
 *
 * A failure prints the seed of its input; `--seed THAT --inputs 1` repeats it. test/image/layers/fuzz.test.ts runs some hundred
 * inputs.
 */
import { deepStrictEqual, ok } from 'node:assert/strict';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { LRUCache } from 'lru-cache';
import { isError } from '../../src/base/errors.ts';
import { ChunkTable } from '../../src/image/layers/chunks.ts';
import type { FileEntry } from '../../src/image/layers/entry.ts';
import { LAYER_LIMITS, type LayerLimits } from '../../src/image/layers/limits.ts';
import { LayerTree } from '../../src/image/layers/merge.ts';
import { SpanData } from '../../src/image/layers/spans.ts';
import { indexTar } from '../../src/image/layers/tar.ts';
import { parseToc, type TocLayer } from '../../src/image/layers/toc.ts';
import { readToc, type Toc, type TocPlace, tocPlaceOf } from '../../src/image/layers/toc-place.ts';
import { bytesSource } from '../../src/image/source.ts';
import { describeSquashFs } from '../../src/image/squashfs/describe.ts';
import { digestOf, type Layer, type TarEntry, tarOf } from '../servers/layered.ts';
import { chunkedOf, GENUINE, genuineLayer, stargzOf } from '../servers/toc-layers.ts';
import { type FuzzResult, fuzzByHand, fuzzWith, type Random } from './run.ts';

const LIMITS: LayerLimits = { ...LAYER_LIMITS, entries: 200, metadata: 64 * 1024, fileSize: 2 ** 40 };
/** Bytes of a file that are read. */
const COMPARED = 1_000_000;

const genuine = GENUINE.map((name) => genuineLayer(name));

interface Opened {
  readonly blob: Buffer;
  readonly place: TocPlace;
}

function open({ blob, annotations = {}, mediaType }: Layer): Opened {
  return { blob, place: tocPlaceOf(annotations, mediaType, blob.length) as TocPlace };
}

const tocOf = ({ blob, place }: Opened) =>
  readToc(place, blob.length, async (offset, length) => blob.subarray(offset, offset + length), 'Layer 1');

/** A layer of random files in one of the forms, with the contents of each. */
function randomLayer(pick: Random): { layer: Layer; contents: ReadonlyMap<string, string> } {
  const contents = new Map<string, string>();
  const entries = Array.from({ length: pick(12) }, (_, i): TarEntry => {
    const path = `${'abc'[pick(3)]}${i}`;
    if (pick(5) === 0) return { path: `${path}/`, type: 'directory' };
    const size = [0, 1, 100, 5000, 70_000, 140_000][pick(6)] as number;
    const data = Buffer.alloc(size, pick(3) === 0 ? 0 : `${pick(1000)} `);
    contents.set(path, digestOf(data));
    return { path, data };
  });
  const make = pick(2) === 0 ? stargzOf : chunkedOf;
  const layer = make(tarOf(entries), { chunkSize: [1000, 30_000, 65_536, 1e9][pick(4)] as number });
  return { layer, contents };
}

const VALUES: readonly unknown[] = [
  0,
  -1,
  1,
  4.5,
  65_536,
  2 ** 31,
  2 ** 53,
  1e300,
  null,
  true,
  '',
  'reg',
  'chunk',
  'zeros',
  'dir',
  'hardlink',
  '../..',
  'a\0b',
  '\ud800',
  'x'.repeat(5000),
  `sha256:${'0'.repeat(64)}`,
  {},
  [],
  { a: 'AA==' },
  { a: 5 },
];

type Item = Record<string, unknown>;

/** Changes some fields and entries of a table. */
function changed(json: Buffer, pick: Random): Buffer {
  const table = JSON.parse(json.toString()) as { entries: Item[]; version: unknown };
  const { entries } = table;
  const one = () => pick(Math.max(1, entries.length));
  for (let left = 1 + pick(4); left > 0; left--) {
    const item = entries[one()] ?? {};
    const fields = Object.keys(item);
    const field = fields[pick(Math.max(1, fields.length))] ?? 'name';
    switch (pick(8)) {
      case 0:
      case 1:
        item[field] = VALUES[pick(VALUES.length)];
        break;
      case 2:
        // A number that is nearly right.
        if (typeof item[field] === 'number') item[field] = item[field] + pick(3) - 1;
        break;
      case 3:
        // What another entry has there.
        item[field] = entries[one()]?.[field];
        break;
      case 4:
        delete item[field];
        break;
      case 5:
        entries.splice(one(), pick(3));
        break;
      case 6:
        entries.splice(one(), 0, { ...entries[one()] });
        break;
      default:
        item[['innerOffset', 'chunkOffset', 'endOffset', 'offset', 'size', 'xattrs'][pick(6)] as string] =
          VALUES[pick(VALUES.length)];
    }
  }
  return Buffer.from(JSON.stringify(table));
}

function damaged(bytes: Buffer, pick: Random): Buffer {
  const copy = Buffer.from(bytes);
  for (let left = 1 + pick(4); left > 0; left--)
    copy[Math.max(0, copy.length - 1 - pick(copy.length))] = pick(256);
  return pick(8) === 0 ? copy.subarray(0, pick(copy.length)) : copy;
}

/** Holds what was read of a table to its rules, and reads the files. */
async function check({ entries, chunks }: TocLayer, blob: Buffer): Promise<Map<string, string>> {
  let [at, from] = [0, 0];
  for (let i = 0; i < chunks.count; i++) {
    const span = chunks.span(i);
    ok(span.at >= at && span.from >= from && span.length > 0 && span.stored > 0, `span ${i}`);
    [at, from] = [span.at + span.length, span.from + span.stored];
  }
  ok(at <= chunks.size && from <= blob.length, 'the spans are within data and blob');
  deepStrictEqual(ChunkTable.fromBytes(chunks.toBytes())?.toBytes(), chunks.toBytes());
  const read = async (offset: number, length: number) =>
    Readable.from([blob.subarray(offset, offset + length)], { objectMode: false });
  const data = new SpanData('layer', chunks, read, new LRUCache({ max: 20 }));
  const sums = new Map<string, string>();
  for (const entry of entries)
    if (entry.type === 'file') sums.set(entry.path, await sumOf(entry, data, chunks.size));
  const tree = new LayerTree(0);
  tree.apply(entries);
  describeSquashFs(tree.root, [chunks.size], 0);
  return sums;
}

/** The sum of a file, or why it cannot be read. */
async function sumOf({ size, offset, ranges }: FileEntry, data: SpanData, dataSize: number): Promise<string> {
  const whole = ranges ?? (size === 0 ? [] : [[0, size] as const]);
  const stored = whole.reduce((sum, [, length]) => sum + length, 0);
  ok(offset + stored <= dataSize, 'a file is within the data');
  if (size > COMPARED) return 'large';
  try {
    const bytes = await buffer(data.stream(offset, stored, new AbortController().signal));
    const contents = Buffer.alloc(size);
    let done = 0;
    for (const [at, length] of whole) done += bytes.copy(contents, at, done, done + length);
    return digestOf(contents);
  } catch (error) {
    if (!isError(error, 'CORRUPT')) throw error;
    return error.code;
  }
}

/** A right table gives the files of the archive. */
async function roundTrip(pick: Random): Promise<void> {
  const { layer, contents } = randomLayer(pick);
  const opened = open(layer);
  const toc = await tocOf(opened);
  ok(toc !== 'absent', 'the table is found');
  const parsed = toc && parseToc(toc, opened.place.packing, 'Layer 1', LIMITS);
  ok(parsed !== undefined, 'the table tells enough');
  deepStrictEqual(await check(parsed, layer.blob), contents);
  const plain = await indexTar(bytesSource(layer.tar), 'Layer 1');
  deepStrictEqual(
    parsed.entries.map(({ path, mode, modified }) => [path, mode, modified]),
    plain.map(({ path, mode, modified }) => [path, mode, modified]),
  );
}

async function one(pick: Random): Promise<unknown> {
  const kind = pick(10);
  if (kind === 0) return roundTrip(pick);
  const opened = open(pick(2) === 0 ? randomLayer(pick).layer : (genuine[pick(genuine.length)] as Layer));
  const { place, blob } = opened;
  if (kind === 1) return tocOf({ place, blob: damaged(blob, pick) });
  const { json, offset } = (await tocOf(opened)) as Toc;
  const changes = kind < 8 ? changed(json, pick) : damaged(json, pick);
  const parsed = parseToc({ json: changes, offset }, place.packing, 'Layer 1', LIMITS);
  return parsed && check(parsed, blob);
}

/** Reads `inputs` layers, or until `deadline`. @throws {Error} naming the seed of the input that broke the promise. */
export function fuzzTocs(seed: number, inputs: number, deadline?: number): Promise<FuzzResult> {
  return fuzzWith(one, seed, inputs, deadline);
}

if (import.meta.main) await fuzzByHand(fuzzTocs);
