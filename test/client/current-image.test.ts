import { expect, test, vi } from 'vitest';
import { SregistryError } from '../../src/base/errors.ts';
import { CurrentImage } from '../../src/client/current-image.ts';
import type { RemoteImage } from '../../src/image/remote.ts';

const image = (revision: string, handle: object): RemoteImage => ({
  name: { collection: 'demo', image: 'x', tag: '1' },
  size: 1,
  digest: undefined,
  revision,
  handle: { ...handle },
});
const OLD = image('r1', { object: 'x' });
const NEW = image('r1', { key: 'x' });
const OTHER = image('r2', { key: 'x' });

/** Reads as a driver does that knows the handle `key` only. */
const read = vi.fn(async (known: RemoteImage) => {
  await new Promise(setImmediate);
  if (known.handle.key === undefined) throw new SregistryError('STALE', 'unreadable');
  return known;
});

function remembering(known: RemoteImage, now: RemoteImage | undefined | Error) {
  const resolve = vi.fn(async () => {
    if (now instanceof Error) throw now;
    return now;
  });
  const noteChange = vi.fn();
  return { current: new CurrentImage({ resolve }, known, noteChange), resolve, noteChange };
}

test('An image whose handle is STALE is looked up once for all uses, and the new handle serves from then on.', async () => {
  const { current, resolve, noteChange } = remembering(OLD, NEW);
  expect(await Promise.all([current.use(read), current.use(read)])).toEqual([NEW, NEW]);
  read.mockClear();
  expect(await current.use(read)).toBe(NEW);
  expect(read).toHaveBeenCalledTimes(1);
  expect(resolve).toHaveBeenCalledTimes(1);
  expect(noteChange.mock.calls).toEqual([[NEW]]);
});

test.each([
  ['replaced', OTHER],
  ['removed', undefined],
])('An image that was %s stays STALE, and that is noted.', async (_how, now) => {
  const { current, noteChange } = remembering(OLD, now);
  await expect(current.use(read)).rejects.toMatchObject({ code: 'STALE' });
  expect(noteChange.mock.calls).toEqual([[now]]);
});

test('A service that cannot be asked is that error, and nothing is noted.', async () => {
  const { current, noteChange } = remembering(OLD, new SregistryError('UNREACHABLE', 'no connection'));
  await expect(current.use(read)).rejects.toMatchObject({ code: 'UNREACHABLE' });
  expect(noteChange).not.toHaveBeenCalled();
});

test('A new handle that is STALE as well ends it; other errors are not looked into.', async () => {
  const { current, resolve } = remembering(OLD, OLD);
  await expect(current.use(read)).rejects.toMatchObject({ code: 'STALE' });
  expect(resolve).toHaveBeenCalledTimes(1);
  const refuse = async () => Promise.reject(new SregistryError('FORBIDDEN', 'no'));
  await expect(current.use(refuse)).rejects.toMatchObject({ code: 'FORBIDDEN' });
  expect(resolve).toHaveBeenCalledTimes(1);
});
