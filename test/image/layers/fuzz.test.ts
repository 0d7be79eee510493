/** Random layers (test/fuzz/layers.ts), by themselves and beside programs that know nothing of us. */
import { rmSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { LayerTree } from '../../../src/image/layers/merge.ts';
import { fuzz, indexBoth, randomLayers } from '../../fuzz/layers.ts';
import {
  comparableEntries,
  listedByPython,
  treeOf,
  unpackedByUmoci,
  withoutImplied,
} from '../../fuzz/oracles.ts';
import { random } from '../../fuzz/run.ts';
import { fuzzTocs } from '../../fuzz/tocs.ts';
import { needs } from '../../helpers/skip.ts';
import { temporaryFolder } from '../../helpers/temporary.ts';

it('layers changed at random give an image that holds their tree, or a clear error', async () => {
  const { inputs, answers } = await fuzz(20_261_128, 400);
  expect(inputs).toBe(400);
  expect(answers).toBeGreaterThan(60);
  expect(answers).toBeLessThan(300);
});

it('tables of contents changed at random give what they say, or a clear error', async () => {
  const { inputs, answers } = await fuzzTocs(20_261_128, 600);
  expect(inputs).toBe(600);
  expect(answers).toBeGreaterThan(100);
  expect(answers).toBeLessThan(500);
});

it('random archives in every form have the entries that Python reads', async () => {
  const folder = temporaryFolder();
  const ours: unknown[][] = [];
  const paths: string[] = [];
  for (let seed = 0; seed < 150; seed++) {
    const pick = random(seed);
    for (const [i, archive] of randomLayers(pick).entries()) {
      const path = join(folder, `${seed}-${i}.tar`);
      writeFileSync(path, archive);
      paths.push(path);
      ours.push(comparableEntries(await indexBoth(archive, pick)));
    }
  }
  const theirs = await listedByPython(paths);
  for (const [i, path] of paths.entries()) expect(ours[i], path).toEqual(theirs[i]);
});

needs({ umoci: true, root: true })('beside umoci', () => {
  it('random layers are merged to the tree that it unpacks', async () => {
    const folder = temporaryFolder();
    // What umoci makes on the way has the time of now, which no entry has.
    const since = Math.floor(Date.now() / 1000);
    let compared = 0;
    for (let seed = 0; seed < 50; seed++) {
      const pick = random(seed);
      const layers = randomLayers(pick);
      const own = join(folder, String(seed));
      await mkdir(own);
      const theirs = await unpackedByUmoci(layers, own);
      rmSync(own, { recursive: true });
      // It refuses a file in the place of a directory, which we replace.
      if (theirs === undefined) continue;
      const tree = new LayerTree(0);
      for (const layer of layers) tree.apply(await indexBoth(layer, pick));
      const ours = treeOf(tree.root);
      expect(withoutImplied(ours, theirs, since), `seed ${seed}`).toEqual(
        withoutImplied(theirs, ours, since),
      );
      compared += 1;
    }
    expect(compared).toBeGreaterThan(15);
  });
});
