import { chmodSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { describeError } from '../../src/base/errors.ts';
import { copyFile, fileError } from '../../src/base/files.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

test('a copy has the bytes of the original and the permissions of a new file', async () => {
  const folder = temporaryFolder();
  const [from, to, fresh] = ['from', 'to', 'fresh'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  const bytes = Buffer.alloc(3 * 1024 * 1024 + 7, 'abc');
  writeFileSync(from, bytes);
  writeFileSync(fresh, '');
  chmodSync(from, 0o400);
  const done: number[] = [];
  await copyFile(from, to, { progress: (count) => done.push(count) });
  expect(readFileSync(to).equals(bytes)).toBe(true);
  expect(statSync(to).mode).toBe(statSync(fresh).mode);
  expect(done).toEqual([...done].sort((a, b) => a - b));
});

test('a copy never overwrites a file', async () => {
  const folder = temporaryFolder();
  writeFileSync(join(folder, 'from'), 'new');
  writeFileSync(join(folder, 'to'), 'precious');
  await expect(copyFile(join(folder, 'from'), join(folder, 'to'))).rejects.toMatchObject({ code: 'EEXIST' });
  expect(readFileSync(join(folder, 'to'), 'utf8')).toBe('precious');
});

test('a copy that is canceled or fails leaves no file', async () => {
  const folder = temporaryFolder();
  const from = join(folder, 'from');
  writeFileSync(from, Buffer.alloc(8 * 1024 * 1024));
  const abort = new AbortController();
  const copying = copyFile(from, join(folder, 'to'), { progress: () => abort.abort(), signal: abort.signal });
  // Where the file system shares blocks the copy is done before anyone can cancel it.
  await copying.catch((error: unknown) => {
    expect(fileError('copy', from, error)).toMatchObject({ code: 'CANCELED' });
    expect(existsSync(join(folder, 'to'))).toBe(false);
  });
  await expect(copyFile(join(folder, 'missing'), join(folder, 'other'))).rejects.toThrow(/ENOENT/);
  expect(readdirSync(folder)).not.toContain('other');
});

test('a failed system call is told with what was tried, on what, and why', () => {
  const cause = Object.assign(new Error('EACCES: permission denied'), { code: 'EACCES' });
  const error = fileError('read', '/data/x.sif', cause);
  expect(error).toMatchObject({ code: 'FORBIDDEN', hint: expect.stringContaining('permissions') });
  expect(describeError(error)).toBe('Cannot read /data/x.sif: EACCES: permission denied');
});
