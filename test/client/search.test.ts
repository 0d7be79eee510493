import { afterEach, beforeEach, expect, test } from 'vitest';
import { push } from '../../src/client/push.ts';
import { search } from '../../src/client/search.ts';
import type { Session } from '../../src/client/session.ts';
import { fixture, TemporaryHome } from './temporary.ts';

let home: TemporaryHome;
let session: Session;
beforeEach(async () => {
  home = new TemporaryHome();
  home.configure({ one: home.shelf('one'), two: home.shelf('two'), away: home.shelf('away') });
  session = await home.open();
  await push(session, fixture('old-plain.sqsh'), 'one://demo/x:1');
  await push(session, fixture('old-plain.sqsh'), 'two://demo/y:1');
});
afterEach(async () => {
  await session.close();
  home[Symbol.dispose]();
});

async function find(query: string, options: { backends?: string[]; labels?: Record<string, string> } = {}) {
  const uris: string[] = [];
  const outcome = await search(session, {
    query,
    ...options,
    found: (image, backend) => uris.push(session.uri(backend.name, image.name)),
  });
  return { ...outcome, uris: uris.sort() };
}

test('Every configured backend is searched.', async () => {
  const { uris, searched, failures } = await find('demo/');
  expect(uris).toEqual(['one://demo/x:1', 'two://demo/y:1']);
  expect([...searched].sort()).toEqual(['away', 'local', 'one', 'two']);
  expect(failures).toEqual([]);
});

test('Those that are named are searched, and a name that means none is a failure.', async () => {
  expect(await find('', { backends: ['two'] })).toMatchObject({ uris: ['two://demo/y:1'] });
  const { failures } = await find('', { backends: ['two', 'three'] });
  expect(failures).toMatchObject([{ backend: 'three', error: { code: 'SETTINGS' } }]);
});

test('One that fails keeps none of the others from answering.', async () => {
  home.configure({ one: home.shelf('one'), gone: { driver: 'dir', base: home.path('nowhere') } });
  await using other = await home.open();
  const uris: string[] = [];
  const outcome = await search(other, { query: '', found: (image) => uris.push(image.name.image) });
  expect(uris).toEqual(['x']);
  expect(outcome.failures).toMatchObject([{ backend: 'gone' }]);
});

test('Each of several words must be in the name.', async () => {
  await push(session, fixture('old-plain.sqsh'), 'one://demo/numpy:2-cuda');
  expect((await find('cuda NUMPY')).uris).toEqual(['one://demo/numpy:2-cuda']);
  expect((await find('numpy rocm')).uris).toEqual([]);
});

test('Labels are found in any case.', async () => {
  expect((await find('', { labels: { maintainer: 'LAB@example.org' } })).uris).toHaveLength(2);
});

test('Labels narrow what is found.', async () => {
  expect((await find('', { labels: { Maintainer: 'lab@example.org' } })).uris).toHaveLength(2);
  expect((await find('', { labels: { Maintainer: 'someone else' } })).uris).toEqual([]);
});
