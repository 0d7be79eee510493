/** What the kernel was told of a path, and whether an open may show it something else. */
import { expect, test } from 'vitest';
import { type Shown, ToldAttributes } from '../../src/fs/told.ts';

const PATH = '/lab/a:1.sif';
const NOON = Date.UTC(2026, 0, 1, 12);

const shown = (content: string, size = 5, changes = 0): Shown => ({ content, size, changes });
const at = (time: number, what: Shown) => ({ ...what, mtime: new Date(time) });

test('the same content keeps its time, another one of the same size gets another', () => {
  const told = new ToldAttributes();
  const first = told.note(PATH, at(NOON + 999, shown('a')));
  expect(told.note(PATH, at(NOON + 999, shown('a')))).toBe(first);
  const second = told.note(PATH, at(NOON + 999, shown('b')));
  expect(second).not.toBe(first);
  expect(Math.floor(second / 1000)).toBe(NOON / 1000);
  expect(told.note(PATH, at(NOON + 999, shown('b')))).toBe(second);
});

test('each change of a file being written gives another time, also within one millisecond', () => {
  const told = new ToldAttributes();
  const times = [1, 2, 3, 4].map((changes) => told.note(PATH, at(NOON, shown('staged', 5, changes))));
  for (const [index, time] of times.entries()) if (index > 0) expect(time).not.toBe(times[index - 1]);
});

test('bytes written through a path are never taken for those it shows after them', () => {
  const told = new ToldAttributes();
  const before = told.note(PATH, at(NOON, shown('a')));
  told.noteWrite(PATH);
  expect(told.mayOpen(PATH, shown('a'))).toBe(false);
  expect(told.note(PATH, at(NOON, shown('a')))).not.toBe(before);
  expect(told.mayOpen(PATH, shown('a'))).toBe(true);
});

test('an open shows what was told last, and nothing that was not told', () => {
  const told = new ToldAttributes();
  expect(told.mayOpen(PATH, shown('a'))).toBe(false);
  told.note(PATH, at(NOON, shown('a')));
  expect(told.mayOpen(PATH, shown('a'))).toBe(true);
  expect(told.mayOpen(PATH, shown('b'))).toBe(false);
  expect(told.mayOpen(PATH, shown('a', 6))).toBe(false);
  expect(told.mayOpen(PATH, shown('a', 6))).toBe(false);
});

test('a file that grows all the time is refused once, then opened', () => {
  const told = new ToldAttributes();
  told.note(PATH, at(NOON, shown('staged', 1, 1)));
  expect(told.mayOpen(PATH, shown('staged', 2, 2))).toBe(false);
  told.note(PATH, at(NOON, shown('staged', 3, 3)));
  expect(told.mayOpen(PATH, shown('staged', 4, 4))).toBe(true);
  expect(told.mayOpen(PATH, shown('staged', 5, 5))).toBe(false);
});

test('an open of another copy of a content is refused once, and its path gets another time', () => {
  const told = new ToldAttributes();
  const of = (copy: string) => ({ ...shown('a'), copy });
  const first = told.note(PATH, at(NOON, shown('a')));
  expect(told.mayOpen(PATH, of('one'))).toBe(true);
  expect(told.note(PATH, at(NOON, shown('a')))).toBe(first);
  expect(told.mayOpen(PATH, of('one'))).toBe(true);
  expect(told.mayOpen(PATH, of('two'))).toBe(false);
  const second = told.note(PATH, at(NOON, shown('a')));
  expect(second).not.toBe(first);
  expect(told.mayOpen(PATH, of('two'))).toBe(true);
  expect(told.note(PATH, at(NOON, shown('a')))).toBe(second);
});

test('what was told follows a rename', () => {
  const told = new ToldAttributes();
  told.note(PATH, at(NOON, shown('a')));
  told.rename(PATH, '/lab/b:1.sif');
  expect(told.mayOpen('/lab/b:1.sif', shown('a'))).toBe(true);
  expect(told.mayOpen(PATH, shown('a'))).toBe(false);
  told.rename(PATH, '/lab/b:1.sif');
  expect(told.mayOpen('/lab/b:1.sif', shown('a'))).toBe(false);
});
