import { expect, onTestFinished, test } from 'vitest';
import { openState } from '../../src/catalog/state.ts';
import { INSPECT_KEY } from '../../src/image/annotations.ts';
import type { Attributes } from '../../src/image/attributes.ts';
import type { RemoteImage } from '../../src/image/remote.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

function open(folder = temporaryFolder()) {
  const state = openState(folder);
  onTestFinished(() => state.close());
  return state;
}

const name = { collection: 'demo', image: 'hello-world', tag: '1.0' };
const KEY = 'demo/hello-world:1.0';

const image = (annotations: Record<string, string> = {}, revision = 'one'): RemoteImage => ({
  name,
  size: 1,
  revision,
  annotations,
  handle: {},
});

const inspected = (attributes: Attributes) => ({ [INSPECT_KEY]: JSON.stringify(attributes) });

test('an image is found by words of its name, labels, definition file and help, of its apps as well', () => {
  const { remotes, texts } = open();
  const attributes: Attributes = {
    labels: { Maintainer: 'Zoë <zoe@example.org>' },
    deffile: 'Bootstrap: docker\n%post\n  pip install numpy==1.26',
    helpfile: 'Runs the sequencer.',
    apps: { plot: { helpfile: 'Draws a histogram.' } },
  };
  remotes.put('lab', KEY, { image: image(inspected(attributes)), fetchedAt: 1 });
  for (const text of [
    'hello',
    'HELLO-WORLD',
    'hello-world:1.0',
    'Maintainer',
    'zoe@example.org',
    'Zoë',
    'numpy',
    'nump',
    'numpy==1.26 docker',
    'sequencer histogram',
  ])
    expect(texts.find('lab', text), text).toEqual([KEY]);
  for (const text of ['umpy', 'numpy scipy', 'world-hello', ''])
    expect(texts.find('lab', text), text).toEqual([]);
  expect(texts.find('other', 'hello')).toEqual([]);
});

test.each([
  '"',
  '""""',
  '*',
  'NEAR(hello world)',
  'hello AND',
  'NOT',
  'name:hello',
  '-hello',
  '^hello',
  '{name help}: hello',
  'hello\0world',
  "'; DROP TABLE seen; --",
  '\ud800',
  '🤖 "hello',
  'a '.repeat(5000),
  '('.repeat(5000),
  'x'.repeat(100_000),
])('any text is a question: %j', (text) => {
  const { remotes, texts } = open();
  remotes.put('lab', KEY, { image: image(), fetchedAt: 1 });
  expect(Array.isArray(texts.find('lab', text))).toBe(true);
  expect(texts.find('lab', 'hello')).toEqual([KEY]);
});

test('what is told anew takes the place of what was, and what is gone is forgotten', () => {
  const { remotes, texts } = open();
  remotes.put('lab', KEY, { image: image({ colour: 'green' }), fetchedAt: 1 });
  remotes.put('lab', KEY, { image: image({ colour: 'blue' }), fetchedAt: 2 });
  expect(texts.find('lab', 'green')).toEqual([]);
  expect(texts.find('lab', 'blue')).toEqual([KEY]);
  expect(texts.labels('lab')).toEqual(new Map([[KEY, { colour: 'blue' }]]));
  remotes.put('lab', KEY, { image: undefined, fetchedAt: 3 });
  expect(texts.find('lab', 'blue')).toEqual([]);
  remotes.put('lab', KEY, { image: image({ colour: 'blue' }), fetchedAt: 4 });
  remotes.forget('lab');
  expect(texts.labels('lab').size).toBe(0);
  expect(texts.find('lab', 'hello')).toEqual([]);
});

test('what was read in an image stays known until its bytes change', () => {
  const { remotes, texts } = open();
  remotes.put('lab', KEY, { image: image({ title: 'x' }), fetchedAt: 1 });
  texts.learn('lab', KEY, 'one', { labels: { colour: 'red' }, deffile: 'From: alpine' });
  remotes.put('lab', KEY, { image: image({ title: 'y' }), fetchedAt: 2 });
  expect(texts.find('lab', 'alpine')).toEqual([KEY]);
  expect(texts.labels('lab').get(KEY)).toEqual({ colour: 'red' });
  remotes.put('lab', KEY, { image: image({ title: 'y' }, 'two'), fetchedAt: 3 });
  expect(texts.find('lab', 'alpine')).toEqual([]);
  expect(texts.labels('lab').get(KEY)).toEqual({ title: 'y' });
});

test('of images that are all there is, the others are forgotten', () => {
  const { texts } = open();
  const other = { ...image(), name: { ...name, tag: '2.0' } };
  texts.replace('shelf', [image(), other]);
  texts.replace('shelf', [other]);
  expect(texts.find('shelf', 'hello')).toEqual(['demo/hello-world:2.0']);
});

test('the index is there again after a restart', () => {
  const folder = temporaryFolder();
  const state = openState(folder);
  state.remotes.put('lab', KEY, { image: image({ colour: 'green' }), fetchedAt: 1 });
  state.close();
  expect(open(folder).texts.find('lab', 'green')).toEqual([KEY]);
});
