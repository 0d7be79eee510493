import { existsSync, readFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Backend } from '../../src/backends/backend.ts';
import { streamTo } from '../../src/client/stream.ts';
import { TemporaryHome } from './temporary.ts';

let home: TemporaryHome;
beforeEach(() => {
  home = new TemporaryHome();
});
afterEach(() => home[Symbol.dispose]());

/** sha256 of `hello`. */
const DIGEST = 'sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824';

const image = (digest?: string) => ({
  name: { collection: 'demo', image: 'x', tag: '1' },
  size: 5,
  revision: '1',
  digest,
  handle: {},
});

/** A backend that answers every read with this text. */
const answering = (text: string) =>
  ({ read: async () => Readable.from([Buffer.from(text)]) }) as unknown as Backend;

test('The bytes of an image are written as they come.', async () => {
  const done: number[] = [];
  await streamTo(answering('hello'), image(DIGEST), home.path('x'), {
    progress: (count) => done.push(count),
  });
  expect(readFileSync(home.path('x'), 'utf8')).toBe('hello');
  expect(done).toEqual([5]);
});

test('Bytes that do not have the stated digest are an error, and not kept.', async () => {
  const streaming = streamTo(answering('hullo'), image(DIGEST), home.path('x'));
  await expect(streaming).rejects.toMatchObject({ code: 'CORRUPT' });
  expect(existsSync(home.path('x'))).toBe(false);
});
