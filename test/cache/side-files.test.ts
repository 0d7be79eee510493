import { mkdtempSync, readdirSync, rmSync, utimesSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { SideFiles } from '../../src/cache/side-files.ts';

function folder(): string {
  const root = mkdtempSync(join(tmpdir(), 'sregistry-side-'));
  onTestFinished(() => rmSync(root, { recursive: true }));
  return root;
}

test('a file is kept under its key, whatever that is, until it is dropped', async () => {
  const root = folder();
  const files = new SideFiles(root, 'points', 1000);
  expect(await files.get('../../a')).toBeUndefined();
  await files.put('../../a', Buffer.from('one'));
  await files.put('../../a', Buffer.from('two'));
  expect(String(await new SideFiles(root, 'points', 1000).get('../../a'))).toBe('two');
  expect(readdirSync(root).sort()).toEqual(['incoming', 'points']);
  expect(readdirSync(join(root, 'incoming'))).toEqual([]);
  await files.drop('../../a');
  await files.drop('../../a');
  expect(await files.get('../../a')).toBeUndefined();
});

test('the files that were used longest ago make room for others', async () => {
  const root = folder();
  const files = new SideFiles(root, 'points', 100);
  const age = (seconds: number) => {
    for (const name of readdirSync(join(root, 'points')))
      utimesSync(join(root, 'points', name), seconds, seconds);
  };
  await files.put('a', Buffer.alloc(40));
  age(1000);
  await files.put('b', Buffer.alloc(40));
  age(2000);
  // Now `a` was used last.
  expect(await files.get('a')).toBeDefined();
  await files.put('c', Buffer.alloc(40));
  expect(await files.get('b')).toBeUndefined();
  expect(await files.get('a')).toBeDefined();
  expect(await files.get('c')).toBeDefined();
  await files.put('d', Buffer.alloc(101));
  expect(await files.get('d')).toBeUndefined();
  expect(await files.get('c')).toBeDefined();
});
