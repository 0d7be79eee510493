/** Handles of opens that the kernel is not given are closed. */
import { expect, test } from 'vitest';
import type { Filesystem } from '../../src/fs/filesystem.ts';
import { OpenAsTold } from '../../src/fs/open-as-told.ts';
import { ToldAttributes } from '../../src/fs/told.ts';

const PATH = '/lab/a:1.sif';
const shown = { size: 5, content: 'a', changes: 0 };

/** A filesystem whose handles count up from 1, and the handles that were released. */
function counting(fgetattr: () => Promise<unknown>) {
  const released: number[] = [];
  let handles = 0;
  const filesystem = {
    open: async () => {
      handles += 1;
      return handles;
    },
    fgetattr,
    release: async (handle: number) => {
      released.push(handle);
    },
  } as unknown as Filesystem;
  return { filesystem, released };
}

test('an open whose attributes cannot be had leaves no handle open', async () => {
  const { filesystem, released } = counting(async () => {
    throw new Error('no attributes');
  });
  await expect(new OpenAsTold(filesystem, new ToldAttributes()).open(PATH, 0)).rejects.toThrow(
    'no attributes',
  );
  expect(released).toEqual([1]);
});

test('a handle that was refused stays open until the path is opened at what was told', async () => {
  const told = new ToldAttributes();
  const { filesystem, released } = counting(async () => shown);
  const opens = new OpenAsTold(filesystem, told);
  expect(await opens.open(PATH, 0)).toBeUndefined();
  expect(released).toEqual([]);
  told.note(PATH, { ...shown, mtime: new Date(0) });
  expect(await opens.open(PATH, 0)).toBe(2);
  expect(released).toEqual([1]);
});
