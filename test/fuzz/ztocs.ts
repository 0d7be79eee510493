/**
 * Reads layers by ztocs of SOCI, right ones and ones that were changed at random: a right one gives the archive and its files, and
 * any other ends soon, with an answer or a SregistryError. Run by hand as tocs.ts:
 *
 *     node test/fuzz/ztocs.ts --minutes 30 --seed 1
 */
import { deepStrictEqual, ok } from 'node:assert/strict';
import { gzipSync } from 'node:zlib';
import { LAYER_LIMITS, type LayerLimits } from '../../src/image/layers/limits.ts';
import { LayerTree } from '../../src/image/layers/merge.ts';
import { lengthOfLast, SociSpans, sociPointOf } from '../../src/image/layers/soci-spans.ts';
import { indexTar } from '../../src/image/layers/tar.ts';
import { parseZtoc, type Ztoc } from '../../src/image/layers/ztoc.ts';
import { bytesSource } from '../../src/image/source.ts';
import { describeSquashFs } from '../../src/image/squashfs/describe.ts';
import { type TarEntry, tarOf } from '../servers/layered.ts';
import { ztocOf } from '../servers/soci.ts';
import { gzipFile, material } from './gzip.ts';
import { mutate } from './images.ts';
import { type FuzzResult, fuzzByHand, fuzzWith, type Random } from './run.ts';

const LIMITS: LayerLimits = { ...LAYER_LIMITS, entries: 200, metadata: 64 * 1024 };

/** A layer of random files, as its archive and its blob. */
function randomLayer(pick: Random): { tar: Buffer; blob: Buffer } {
  const entries = Array.from({ length: pick(10) }, (_, i): TarEntry => {
    const path = `${'abc'[pick(3)]}${i}`;
    if (pick(4) === 0) return { path: `${path}/`, type: 'directory' };
    if (pick(4) === 0) return { path, type: 'symlink', target: '../x' };
    return { path, data: material(pick(pick(2) === 0 ? 100 : 60_000), pick), mode: pick(0o10000) };
  });
  const tar = Buffer.concat([tarOf(entries), Buffer.alloc(512 * pick(20))]);
  const blob = [() => tar, () => gzipFile(tar, pick), () => gzipSync(tar, { level: pick(10) })];
  return { tar, blob: (blob[pick(3)] as () => Buffer)() };
}

/** The archive, decompressed span by span. */
async function archiveOf({ checkpoints, storedSize }: Ztoc, blob: Buffer): Promise<Buffer> {
  const points = checkpoints.map(sociPointOf);
  const last = points.at(-1) as (typeof points)[number];
  const size = last.offset + (await lengthOfLast(last, blob.subarray(last.from)));
  const spans = new SociSpans(points, size, storedSize);
  const parts: Uint8Array[] = [];
  for (let i = 0; i < spans.count; i++) {
    const { from, stored } = spans.span(i);
    parts.push(await spans.decode(i, blob.subarray(from, from + stored)));
  }
  return Buffer.concat(parts);
}

async function one(pick: Random): Promise<void> {
  const { tar, blob } = randomLayer(pick);
  const right = await ztocOf({ tar, blob }, { span: 4096 + pick(60_000), firstVersion: pick(2) === 0 });
  if (pick(5) === 0) {
    const ztoc = parseZtoc(right, LIMITS);
    deepStrictEqual(ztoc.entries, await indexTar(bytesSource(tar), 'Layer 1'));
    ok(tar.equals(await archiveOf(ztoc, blob)), 'another archive');
    return;
  }
  const ztoc = parseZtoc(Buffer.from(mutate(right, pick)), LIMITS);
  const tree = new LayerTree(0);
  tree.apply(ztoc.entries);
  describeSquashFs(tree.root, [ztoc.leastSize], 0);
  await archiveOf(ztoc, blob);
}

/** Reads `inputs` layers, or until `deadline` (milliseconds since the epoch). */
export function fuzzZtocs(seed: number, inputs: number, deadline?: number): Promise<FuzzResult> {
  return fuzzWith(one, seed, inputs, deadline);
}

if (import.meta.main) await fuzzByHand(fuzzZtocs);
