/** pull, push, search, delete, inspect: on a directory as a registry, which needs no server. */
import { existsSync, mkdirSync } from 'node:fs';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Home } from './home.ts';

let home: Home;
beforeEach(async () => {
  home = new Home();
  mkdirSync(home.path('shelf'));
  await home.ok('backend', 'add', 'shelf', '--driver', 'dir', `base=${home.path('shelf')}`);
  await home.ok('push', home.image(), '--name', 'shelf://demo/hello:1.0');
});
afterEach(() => home[Symbol.dispose]());

const bytes = (path: string) => readFile(home.path(path));

describe('Push', () => {
  test('prints where the image is now, and its digest.', async () => {
    const { uri, size, digest } = await home.json('push', 'old-plain.sqsh', '--name', 'shelf://demo/hello');
    expect({ uri, size }).toEqual({ uri: 'shelf://demo/hello:latest', size: 1048576 });
    expect(await home.ok('push', 'old-plain.sqsh', '--name', 'shelf://demo/Hello:2', '--tag', '3')).toBe(
      `shelf://demo/Hello:3${digest === null ? '' : ` ${digest}`}\n`,
    );
  });

  test('replaces an image, and with --no-overwrite none.', async () => {
    await home.ok('push', 'old-plain.sqsh', '--name', 'shelf://demo/hello:1.0');
    const args = ['push', 'old-plain.sqsh', '--no-overwrite', '--name'];
    const { code, stderr } = await home.sregistry(...args, 'shelf://demo/hello:1.0');
    expect(code).toBe(1);
    expect(stderr).toContain('shelf://demo/hello:1.0 exists already');
    await home.ok(...args, 'shelf://demo/hello:2.0');
  });
});

describe('Pull', () => {
  test('puts an image into the library and prints its path.', async () => {
    const path = (await home.ok('pull', 'shelf://demo/hello:1.0')).trim();
    expect(path).toMatch(/\.singularity\/shub\/demo\/hello\/1\.0@[0-9a-f]{64}\.sif$/);
    expect(await readFile(path)).toEqual(await bytes('old-plain.sqsh'));
    expect((await stat(path)).mode & 0o111).not.toBe(0);
    expect(await home.json('images')).toMatchObject([
      { client: 'shelf', url: 'shelf://demo/hello:1.0', path },
    ]);
  });

  test('writes the file that is named, and replaces one only by force.', async () => {
    await writeFile(home.path('mine.sif'), 'mine');
    const refused = await home.sregistry('pull', 'shelf://demo/hello:1.0', '--name', 'mine.sif');
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain('--force');
    expect(await bytes('mine.sif')).toEqual(Buffer.from('mine'));

    const path = await home.ok('pull', 'shelf://demo/hello:1.0', '--name', 'mine.sif', '--force');
    expect(path).toBe(`${home.path('mine.sif')}\n`);
    expect(await bytes('mine.sif')).toEqual(await bytes('old-plain.sqsh'));
    expect(await home.json('images')).toHaveLength(1);
  });

  test('leaves the library alone with --no-cache: the file is in the working directory.', async () => {
    expect(await home.ok('pull', '--no-cache', 'shelf://demo/hello:1.0')).toBe(
      `${home.path('demo-hello:1.0.sif')}\n`,
    );
    expect(await home.json('images')).toEqual([]);
  });

  test('does the same where the database is disabled.', async () => {
    home.env.SREGISTRY_DISABLE = '1';
    expect(await home.ok('pull', 'shelf://demo/hello:1.0')).toBe(`${home.path('demo-hello:1.0.sif')}\n`);
  });

  test('takes several images at once.', async () => {
    await home.ok('push', 'old-plain.sqsh', '--name', 'shelf://demo/other:1');
    const pulled = await home.json('pull', 'shelf://demo/hello:1.0', 'shelf://demo/other:1');
    expect(pulled.map(({ uri }: { uri: string }) => uri)).toEqual([
      'shelf://demo/hello:1.0',
      'shelf://demo/other:1',
    ]);
  });

  test('prints the path of what is in the library already, copied only where a file is named.', async () => {
    const path = await home.ok('pull', 'shelf://demo/hello:1.0');
    expect(await home.ok('pull', 'local://demo/hello:1.0')).toBe(path);
    await home.ok('pull', 'local://demo/hello:1.0', '--name', 'copy.sif');
    expect(await bytes('copy.sif')).toEqual(await bytes('old-plain.sqsh'));
    expect(await home.json('images')).toHaveLength(1);
  });

  test('of what is not there says so, and leaves nothing behind.', async () => {
    const { code, stdout, stderr } = await home.sregistry('pull', 'shelf://demo/none:1', '--name', 'x.sif');
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toContain('shelf://demo/none:1 does not exist');
    expect(existsSync(home.path('x.sif'))).toBe(false);
  });

  test('takes a name without a scheme from the active backend.', async () => {
    await home.ok('backend', 'activate', 'shelf');
    await home.ok('pull', 'demo/hello:1.0', '--name', 'x.sif');
    expect(existsSync(home.path('x.sif'))).toBe(true);
  });
});

describe('Search', () => {
  test('finds images in every backend, for people and for programs.', async () => {
    await home.ok('add', home.image(), '--name', 'demo/own:1');
    const found = await home.json('search', 'demo/');
    expect(found.map(({ uri }: { uri: string }) => uri).sort()).toEqual([
      'local://demo/own:1',
      'shelf://demo/hello:1.0',
    ]);
    expect(found[0]).toMatchObject({ size: 1048576, labels: {} });
    expect(await home.ok('search', 'hello')).toMatch(/1MB\t.*\tshelf:\/\/demo\/hello:1\.0\n$/);
  });

  test('looks only where it is told to.', async () => {
    await home.ok('add', home.image(), '--name', 'demo/own:1');
    expect(await home.json('search', '--backend', 'local')).toHaveLength(1);
    expect(await home.json('search', 'shelf://hello')).toHaveLength(1);
  });

  test('finds words of what images say of themselves, and asks no service when told not to.', async () => {
    await home.ok('backend', 'add', 'away', '--driver', 'oci', 'base=http://127.0.0.1:1');
    const { code, stdout, stderr } = await home.sregistry('search', 'labtool', '--offline');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toContain('shelf://demo/hello:1.0');
    expect(await home.json('search', 'nothing of that', '--offline')).toEqual([]);
  });

  test('warns of a backend that fails, and fails only if all do.', async () => {
    await home.ok('backend', 'add', 'away', '--driver', 'oci', 'base=http://127.0.0.1:1');
    home.env.SREGISTRY_TIMEOUT = '1';
    const { code, stdout, stderr } = await home.sregistry('search', 'hello');
    expect(code).toBe(0);
    expect(stdout).toContain('shelf://demo/hello:1.0');
    expect(stderr).toContain('away could not be searched');
    expect((await home.sregistry('search', '--backend', 'away')).code).toBe(1);
  });
});

describe('Delete', () => {
  test('does not delete without a question, which needs a terminal.', async () => {
    const { code, stderr } = await home.sregistry('delete', 'shelf://demo/hello:1.0');
    expect(code).toBe(2);
    expect(stderr).toContain('--force');
    expect(await home.json('search', 'hello')).toHaveLength(1);
  });

  test('deletes by force.', async () => {
    expect(await home.ok('delete', '-f', 'shelf://demo/hello:1.0')).toBe('shelf://demo/hello:1.0\n');
    expect(await home.json('search', 'hello')).toEqual([]);
    expect((await home.sregistry('delete', '-f', 'shelf://demo/hello:1.0')).code).toBe(1);
  });
});

test('Inspect tells of an image of a backend.', async () => {
  expect(await home.json('inspect', 'shelf://demo/hello:1.0')).toMatchObject({
    uri: 'shelf://demo/hello:1.0',
    backend: 'shelf',
    size: 1048576,
    data: { attributes: { labels: { Maintainer: 'lab@example.org' } } },
  });
});

test('A backend that does not exist is an error that names the nearest.', async () => {
  const { code, stderr } = await home.sregistry('pull', 'shlef://demo/hello:1.0');
  expect(code).toBe(1);
  expect(stderr).toContain('Did you mean shelf?');
});

test('Nothing is mounted, nothing is on its way: status says it in its shape.', async () => {
  // Root is shown the dead mounts of everybody, also of tests that run beside this one.
  expect(await home.json('status')).toEqual({ mounts: [], dead: expect.any(Array), pushes: [] });
  const { code, stderr } = await home.sregistry('status', home.path('mnt'));
  expect(code).toBe(1);
  expect(stderr).toContain(`No sregistry is mounted at ${home.path('mnt')}`);
});
