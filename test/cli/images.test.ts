/** sha256 of old-plain.sqsh, as test/fixtures/images/old-plain.sha256 has it. */
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Home } from './home.ts';

const DIGEST = readFileSync(join(import.meta.dirname, '../fixtures/images/old-plain.sha256'), 'utf8').slice(
  0,
  64,
);

let home: Home;
beforeEach(() => {
  home = new Home();
});
afterEach(() => home[Symbol.dispose]());

test('An image that is added is moved into the library, listed, and found by its name alone.', async () => {
  const path = (await home.ok('add', home.image(), '--name', 'Demo/Hello:1.0')).trim();
  expect(path).toBe(home.path(`.singularity/shub/demo/hello/1.0@${DIGEST}.sif`));
  expect(existsSync(home.path('old-plain.sqsh'))).toBe(false);
  expect(await home.ok('get', 'demo/hello:1.0')).toBe(`${path}\n`);
  expect(await home.json('images')).toEqual([
    {
      uri: `local://demo/hello:1.0@${DIGEST}`,
      backend: 'local',
      size: 1048576,
      digest: `sha256:${DIGEST}`,
      modified: expect.stringMatching(/^\d{4}-.*Z$/),
      client: 'local',
      path,
      url: null,
    },
  ]);
});

test('A copy leaves the file where it is.', async () => {
  await home.ok('add', home.image(), '--name', 'demo/hello:1.0', '--copy');
  expect(existsSync(home.path('old-plain.sqsh'))).toBe(true);
});

test('The list can be narrowed to a part of a name; * means all.', async () => {
  await home.ok('add', home.image(), '--name', 'demo/one:1');
  await home.ok('add', home.image(), '--name', 'demo/two:1');
  const names = async (...args: string[]) =>
    (await home.json('images', ...args)).map(({ uri }: { uri: string }) => uri.replace(/@.*/, ''));
  expect(await names()).toEqual(['local://demo/one:1', 'local://demo/two:1']);
  expect(await names('*')).toHaveLength(2);
  expect(await names('two')).toEqual(['local://demo/two:1']);
  expect(await home.ok('images')).toMatch(/^1 .*\[local\]\t1MB\tdemo\/one:1@/m);
});

test('An image is renamed, moved out, and removed.', async () => {
  await home.ok('add', home.image(), '--name', 'demo/hello:1.0');
  expect(await home.ok('rename', 'demo/hello:1.0', 'tools/hello:2')).toBe(
    `[rename] demo/hello:1.0 => tools/hello:2@${DIGEST}\n`,
  );
  await mkdir(home.path('out'));
  expect(await home.ok('mv', 'tools/hello:2', 'out')).toBe(
    `[move] tools/hello:2 => ${home.path(`out/2@${DIGEST}.sif`)}\n`,
  );
  await home.ok('rm', 'tools/hello:2');
  expect(existsSync(home.path(`out/2@${DIGEST}.sif`))).toBe(false);
  expect((await home.sregistry('get', 'tools/hello:2')).code).toBe(1);
});

test('Labels are listed with the images that have them.', async () => {
  await home.ok('add', home.image(), '--name', 'demo/hello:1.0');
  const [label] = await home.json('labels', '--key', 'Maintainer');
  expect(label).toEqual({
    key: 'Maintainer',
    value: 'lab@example.org',
    images: ['local://demo/hello:1.0'],
  });
  expect(await home.json('labels', '-v', 'nobody')).toEqual([]);
});

test('Inspect tells of a file and of an image in the library.', async () => {
  await home.ok('add', home.image(), '--name', 'demo/hello:1.0', '--copy');
  expect(await home.json('inspect', 'old-plain.sqsh')).toMatchObject({
    kind: 'squashfs',
    whole: true,
    digest: `sha256:${DIGEST}`,
    data: { attributes: { labels: { Maintainer: 'lab@example.org' } } },
  });
  expect(await home.json('inspect', 'demo/hello:1.0')).toMatchObject({
    collection: 'demo',
    name: 'hello',
    tag: '1.0',
    client: 'local',
  });
});

describe('What is no image is refused with a reason', () => {
  test.each([
    ['text', 'not a whole image'],
    ['truncated', 'not a whole image: SquashFS image of which 4096 of'],
    ['folder', 'is not a file'],
    ['nothing', 'ENOENT'],
  ])('%s', async (kind, reason) => {
    if (kind === 'text') await writeFile(home.path('text'), 'Dear diary,\n');
    if (kind === 'truncated') await truncate(home.path(home.image('old-plain.sqsh', 'truncated')), 4096);
    if (kind === 'folder') await mkdir(home.path('folder'));
    for (const command of ['add', 'push']) {
      const { code, stderr } = await home.sregistry(command, kind, '--name', 'local://demo/x:1');
      expect({ command, code }).toEqual({ command, code: 1 });
      expect(stderr).toContain(reason);
    }
    expect(await home.json('images')).toEqual([]);
  });
});

test('With the database disabled, nothing is stored and it is said why.', async () => {
  home.env.SREGISTRY_DISABLE = 'yes';
  const { code, stderr } = await home.sregistry('images');
  expect(code).toBe(1);
  expect(stderr).toContain('Unset SREGISTRY_DISABLE');
  await home.ok('add', home.image(), '--name', 'demo/hello:1.0');
  expect(existsSync(home.path('old-plain.sqsh'))).toBe(true);
});
