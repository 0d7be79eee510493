import {
  chmodSync,
  chownSync,
  existsSync,
  lchownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { describeError } from '../../src/base/errors.ts';
import { copyFile, fileError } from '../../src/base/files.ts';
import { ensurePrivateFile, ensurePrivateFolder } from '../../src/base/private.ts';
import { needs } from '../helpers/skip.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

test('the cause of an error may be any value', () => {
  const answer = { error: 'invalid_grant' };
  const inner = new Error('refused by the service', { cause: answer });
  expect(describeError(new Error('No login', { cause: inner }))).toBe('No login: refused by the service');
  expect(describeError(new Error('No login', { cause: 'a text' }))).toBe('No login: a text');
});

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

const modeOf = (path: string) => (statSync(path).mode & 0o777).toString(8);

test('a private folder is its owner’s only, whatever the umask and whatever it was', () => {
  const top = temporaryFolder();
  const made = join(top, 'a', 'b');
  const umask = process.umask(0o777);
  try {
    ensurePrivateFolder(made);
  } finally {
    process.umask(umask);
  }
  expect([modeOf(made), modeOf(join(top, 'a'))]).toEqual(['700', '700']);
  for (const mode of [0o755, 0o777, 0o2770, 0o500]) {
    chmodSync(made, mode);
    ensurePrivateFolder(made);
    expect(modeOf(made)).toBe('700');
  }
});

test('a link of one’s own to a folder of one’s own is followed, and the folder made private', () => {
  const top = temporaryFolder();
  mkdirSync(join(top, 'scratch'), { mode: 0o755 });
  symlinkSync('scratch', join(top, 'cache'));
  expect(ensurePrivateFolder(join(top, 'cache'))).toBe(join(realpathSync(top), 'scratch'));
  expect(modeOf(join(top, 'scratch'))).toBe('700');
});

test('what is no folder is refused', () => {
  const top = temporaryFolder();
  writeFileSync(join(top, 'file'), '');
  expect(() => ensurePrivateFolder(join(top, 'file'))).toThrow(/Refusing to use .*file: it is not a folder/);
});

test('a private file is its owner’s only, and keeps its bytes; a link is refused', () => {
  const top = temporaryFolder();
  const umask = process.umask(0);
  try {
    ensurePrivateFile(join(top, 'new'));
  } finally {
    process.umask(umask);
  }
  expect(modeOf(join(top, 'new'))).toBe('600');
  writeFileSync(join(top, 'old'), 'bytes', { mode: 0o666 });
  ensurePrivateFile(join(top, 'old'));
  expect([modeOf(join(top, 'old')), readFileSync(join(top, 'old'), 'utf8')]).toEqual(['600', 'bytes']);
  symlinkSync('old', join(top, 'link'));
  expect(() => ensurePrivateFile(join(top, 'link'))).toThrow(/not a file/);
});

needs({ root: true })('what another user owns', () => {
  const OTHER = 65534;

  test('is refused, with what to do: a folder, a file, a link', () => {
    const top = temporaryFolder();
    const paths = ['folder', 'file', 'link'].map((name) => join(top, name)) as [string, string, string];
    const [folder, file, link] = paths;
    mkdirSync(folder);
    writeFileSync(file, '');
    symlinkSync(top, link);
    for (const path of paths) lchownSync(path, OTHER, OTHER);
    for (const act of [
      () => ensurePrivateFolder(folder),
      () => ensurePrivateFile(file),
      () => ensurePrivateFolder(link),
    ]) {
      expect(act).toThrow(/belongs to another user \(uid 65534\)/);
      expect(act).toThrow(
        expect.objectContaining({ code: 'SETTINGS', hint: expect.stringContaining('folder of yours') }),
      );
    }
    expect(modeOf(folder)).toBe('755');
  });

  test('and a link of one’s own leads to is refused as well', () => {
    const top = temporaryFolder();
    mkdirSync(join(top, 'theirs'));
    chownSync(join(top, 'theirs'), OTHER, OTHER);
    symlinkSync('theirs', join(top, 'link'));
    expect(() => ensurePrivateFolder(join(top, 'link'))).toThrow(/belongs to another user/);
  });
});
