import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { KnownLayers } from '../../src/catalog/layers.ts';
import { openState, type State } from '../../src/catalog/state.ts';

let folder: string;
let state: State;
let layers: KnownLayers;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sregistry-known-'));
  state = openState(folder);
  layers = new KnownLayers(state.db, { bytes: 1000, one: 600, images: 4 });
});
afterEach(() => {
  vi.useRealTimers();
  state.close();
  rmSync(folder, { recursive: true });
});

/** Each use has a time of its own. */
function ticking(): void {
  vi.useFakeTimers({ toFake: ['Date'], now: 1_000 });
}
const tick = () => vi.setSystemTime(Date.now() + 1);

test('entries and tables stay within their bytes, those that were used last', () => {
  ticking();
  for (const name of ['a', 'b', 'c']) {
    layers.put(name, Buffer.alloc(300, name));
    layers.putImage(name, 7, Buffer.alloc(300, name));
    tick();
  }
  expect(layers.entriesOf('a')).toEqual(Buffer.alloc(300, 'a'));
  expect(layers.imageOf('a')).toEqual(Buffer.alloc(300, 'a'));
  tick();
  layers.put('d', Buffer.alloc(500));
  layers.putImage('d', 7, Buffer.alloc(500));
  expect(['a', 'b', 'c', 'd'].map((name) => layers.entriesOf(name)?.length)).toEqual([
    300,
    undefined,
    undefined,
    500,
  ]);
  expect(['a', 'b', 'c', 'd'].map((name) => layers.imageOf(name)?.length)).toEqual([
    300,
    undefined,
    undefined,
    500,
  ]);
  // The size of an image stays.
  expect(layers.sizeOf('b')).toBe(7);
});

test('what is too large alone is not kept, but the size of an image is', () => {
  layers.put('a', Buffer.alloc(601));
  layers.putImage('a', 9, Buffer.alloc(601));
  expect(layers.entriesOf('a')).toBeUndefined();
  expect([layers.imageOf('a'), layers.sizeOf('a')]).toEqual([undefined, 9]);
});

test('only so many images are kept', () => {
  ticking();
  for (const name of ['a', 'b', 'c', 'd', 'e']) {
    layers.putImage(name, 1, Buffer.alloc(1));
    tick();
  }
  expect(['a', 'b', 'e'].map((name) => layers.sizeOf(name))).toEqual([undefined, 1, 1]);
});

test('images of another layout count for nothing, and go with the next one that is kept', () => {
  layers.putImage('a', 1, Buffer.alloc(1));
  state.db.prepare('UPDATE layered_images SET layout = layout + 1').run();
  expect([layers.sizeOf('a'), layers.imageOf('a')]).toEqual([undefined, undefined]);
  layers.putImage('b', 1, Buffer.alloc(1));
  expect(state.db.prepare('SELECT revision FROM layered_images').pluck().all()).toEqual(['b']);
});
