import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { locateCache } from '../../src/cache/location.ts';
import { openState } from '../../src/catalog/state.ts';
import { needs } from '../helpers/skip.ts';
import { temporaryFolder } from '../helpers/temporary.ts';

/** A cache as an earlier version left it: its folders and its database open to all who can get at them. */
function openCacheFolder(): string {
  const top = temporaryFolder();
  chmodSync(top, 0o755);
  const cache = join(top, 'cache');
  for (const part of ['', 'images', 'staging', 'trash']) mkdirSync(join(cache, part), { mode: 0o755 });
  openState(cache).close();
  chmodSync(cache, 0o755);
  chmodSync(join(cache, 'state.db'), 0o644);
  writeFileSync(join(cache, 'staging', 'push'), 'private bytes', { mode: 0o644 });
  return cache;
}

test('a cache that is there already is made private, with what is in it', async () => {
  const cache = openCacheFolder();
  const { root } = await locateCache(cache);
  for (const part of ['', 'images', 'staging', 'trash'])
    expect((statSync(join(root, part)).mode & 0o777).toString(8)).toBe('700');
});

needs({ root: true })('another user', () => {
  const OTHER = 65534;
  const canRead = (path: string): boolean => {
    try {
      execFileSync('cat', [path], { uid: OTHER, gid: OTHER, stdio: 'ignore' });
      return true;
    } catch {
      return false;
    }
  };

  test('reads neither the names nor the staged bytes in a cache, also where it is there already', async () => {
    const cache = openCacheFolder();
    const files = ['state.db', 'staging/push'].map((name) => join(cache, name));
    expect(files.map(canRead)).toEqual([true, true]);
    const { root } = await locateCache(cache);
    openState(root).close();
    expect(files.map(canRead)).toEqual([false, false]);
    chmodSync(cache, 0o755);
    expect(files.map(canRead)).toEqual([false, false]);
  });

  test.each(['', 'staging', 'images'])('cannot plant a cache directory: /%s is refused', async (part) => {
    const cache = openCacheFolder();
    chownSync(join(cache, part), OTHER, OTHER);
    await expect(locateCache(cache)).rejects.toMatchObject({
      code: 'SETTINGS',
      message: expect.stringContaining('belongs to another user'),
    });
  });

  test('cannot plant a database', () => {
    const cache = openCacheFolder();
    chownSync(join(cache, 'state.db'), OTHER, OTHER);
    expect(() => openState(cache)).toThrow(/state.db: it belongs to another user/);
  });
});
