import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { copy } from '../../src/client/copy.ts';
import { Session } from '../../src/client/session.ts';
import { environment, image, temporaryFolder } from '../fs/support.ts';

let home: string;
let small: Buffer;

/** A session over two directories, `one` and `two`; the first holds demo/small:1. */
async function open(): Promise<Session> {
  await writeFile(
    join(home, '.sregistry'),
    JSON.stringify({
      one: { driver: 'dir', base: join(home, 'one') },
      two: { driver: 'dir', base: join(home, 'two') },
    }),
    { mode: 0o600 },
  );
  return Session.open({ env: environment(home) });
}

beforeEach(async () => {
  home = await temporaryFolder();
  small = await image('small-gzip.sif');
  for (const folder of ['one/demo', 'two']) await mkdir(join(home, folder), { recursive: true });
  await writeFile(join(home, 'one/demo/small:1.sif'), small);
});

test('an image is copied from one backend to another, and nothing is left on the way', async () => {
  await using session = await open();
  const { uri, within } = await copy(session, 'one://demo/small:1', 'two://other/name:2');
  expect({ uri, within }).toEqual({ uri: 'two://other/name:2', within: false });
  expect((await readFile(join(home, 'two/other/name:2.sif'))).equals(small)).toBe(true);
  expect(await readdir(session.stagingFolder)).toEqual([]);
});

test('within a backend the service copies', async () => {
  await using session = await open();
  const { within } = await copy(session, 'one://demo/small:1', 'one://demo/small:stable');
  expect(within).toBe(true);
  expect((await readFile(join(home, 'one/demo/small:stable.sif'))).equals(small)).toBe(true);
});

test('what does not exist is not copied, and nothing is made of it', async () => {
  await using session = await open();
  await expect(copy(session, 'one://demo/none:1', 'two://x/y:1')).rejects.toMatchObject({
    code: 'NOT_FOUND',
  });
  expect(await readdir(join(home, 'two'))).toEqual([]);
});
