import { mkdirSync } from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ownProcess } from '../../src/base/process.ts';
import { openState } from '../../src/catalog/state.ts';
import { listPushes } from '../../src/client/pushes.ts';
import { TemporaryHome } from './temporary.ts';

let home: TemporaryHome;
beforeEach(() => {
  home = new TemporaryHome();
  mkdirSync(home.path('cache'));
});
afterEach(() => home[Symbol.dispose]());

test('Pushes that are not done are told from the journal alone, with the reason.', async () => {
  const state = openState(home.path('cache'));
  state.journal.create({
    backend: 'lab',
    path: 'demo/x:1.simg',
    uri: 'lab://demo/x:1',
    state: 'kept',
    bytes: 10,
    size: 100,
    error: 'lab does not answer',
    hint: 'It is pushed again at the next mount',
    owner: ownProcess(),
  });
  state.close();
  expect(await listPushes(home.path('cache'))).toEqual([
    {
      uri: 'lab://demo/x:1',
      state: 'kept',
      bytes: 10,
      size: 100,
      error: 'lab does not answer',
      hint: 'It is pushed again at the next mount',
      updated: expect.stringMatching(/Z$/),
    },
  ]);
});

test('Where nothing was ever cached there are none, and nothing is made.', async () => {
  expect(await listPushes(home.path('cache'))).toEqual([]);
  expect(await listPushes(home.path('nowhere'))).toEqual([]);
});
