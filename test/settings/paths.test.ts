import { chmodSync, chownSync, mkdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ensureRuntimeDir, getPaths } from '../../src/settings/paths.ts';
import { temporaryDir } from './temporary.ts';

test("keeps the Python client's places by default", () => {
  expect(getPaths({ HOME: '/home/ada' })).toEqual({
    home: '/home/ada',
    secretsFile: '/home/ada/.sregistry',
    databaseDir: '/home/ada/.singularity',
    databaseFile: '/home/ada/.singularity/sregistry.db',
    storage: '/home/ada/.singularity/shub',
    cacheDir: '/home/ada/.cache/sregistry',
    credentialsCache: '/home/ada/.singularity/.sregistry',
    runtimeDir: join(tmpdir(), `sregistry-${process.getuid?.()}`),
    logDir: '/home/ada/.local/state/sregistry',
  });
});

test('takes each place from its own variable', () => {
  const paths = getPaths({
    HOME: '/home/ada',
    SREGISTRY_CLIENT_SECRETS: '/s/secrets.json',
    SREGISTRY_DATABASE: '/d',
    SREGISTRY_STORAGE: '~/images',
    SREGISTRY_CACHEDIR: '/scratch/cache',
    SREGISTRY_CREDENTIALS_CACHE: '/c',
    XDG_STATE_HOME: '/state',
  });
  expect(paths).toMatchObject({
    secretsFile: '/s/secrets.json',
    databaseFile: '/d/sregistry.db',
    storage: '/home/ada/images',
    cacheDir: '/scratch/cache',
    credentialsCache: '/c/.sregistry',
    logDir: '/state/sregistry',
  });
});

test('follows XDG_CACHE_HOME and ignores it where it is relative', () => {
  expect(getPaths({ HOME: '/h', XDG_CACHE_HOME: '/x' }).cacheDir).toBe('/x/sregistry');
  expect(getPaths({ HOME: '/h', XDG_CACHE_HOME: 'x' }).cacheDir).toBe('/h/.cache/sregistry');
});

test('asks the system for the home where HOME is missing or relative', () => {
  expect(getPaths({}).home).toBe(userInfo().homedir);
  expect(getPaths({ HOME: 'somewhere' }).home).toBe(userInfo().homedir);
});

test('uses XDG_RUNTIME_DIR only where it is a directory of ours', () => {
  const dir = temporaryDir();
  const file = join(dir, 'file');
  writeFileSync(file, '');
  expect(getPaths({ XDG_RUNTIME_DIR: dir }).runtimeDir).toBe(join(dir, 'sregistry'));
  expect(getPaths({ XDG_RUNTIME_DIR: file }).runtimeDir).toContain(tmpdir());
  expect(getPaths({ XDG_RUNTIME_DIR: join(dir, 'missing') }).runtimeDir).not.toContain(dir);
});

test('creates the runtime directory for nobody but us, and closes one that is open', () => {
  const dir = join(temporaryDir(), 'sregistry');
  expect(ensureRuntimeDir(dir)).toBe(dir);
  expect(statSync(dir).mode & 0o777).toBe(0o700);
  chmodSync(dir, 0o755);
  ensureRuntimeDir(dir);
  expect(statSync(dir).mode & 0o777).toBe(0o700);
});

test('refuses a runtime directory that is a link or a file', () => {
  const dir = temporaryDir();
  mkdirSync(join(dir, 'target'));
  symlinkSync(join(dir, 'target'), join(dir, 'link'));
  writeFileSync(join(dir, 'file'), '');
  for (const name of ['link', 'file']) {
    expect(() => ensureRuntimeDir(join(dir, name))).toThrow(/is not a directory of yours/);
  }
});

test('refuses a runtime directory of someone else', () => {
  expect(() => ensureRuntimeDir(directoryOfSomeoneElse())).toThrow(/is not a directory of yours/);
});

/** Root gives one away; anyone else finds one of root's. */
function directoryOfSomeoneElse(): string {
  if (process.getuid?.() !== 0) return '/usr';
  const dir = join(temporaryDir(), 'theirs');
  mkdirSync(dir);
  chownSync(dir, 12345, 12345);
  return dir;
}
