/**
 * Shows that the fake of Cloud Storage is one to a client that is not ours: rclone, which has to be on the PATH, stores into
 * it in one request and in a resumable session, lists it page by page, reads a range, copies, compares hashes and removes.
 *
 *     node test/servers/check-fakes.ts
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { startFakeGcs } from './fake-gcs.ts';

const MEBIBYTE = 1024 * 1024;
const run = promisify(execFile);
const folder = await mkdtemp(join(tmpdir(), 'sregistry-fakes-'));
const service = await startFakeGcs({ pageSize: 3, rewriteStep: 8 * MEBIBYTE });

async function rclone(...args: string[]): Promise<string> {
  const address = [
    '--gcs-endpoint',
    `${service.url}/storage/v1/`,
    '--gcs-anonymous',
    '--gcs-no-check-bucket',
  ];
  const once = ['--config', '/dev/null', '--retries', '1', '--low-level-retries', '1'];
  return (await run('rclone', [...args, ...once, ...address])).stdout;
}

const remote = (path: string) => `:gcs:${service.bucket}/${path}`;
const asked = (pattern: RegExp) =>
  service.requests.filter(({ method, url }) => pattern.test(`${method} ${url}`)).length;

async function check(what: string, step: () => Promise<void>): Promise<void> {
  await step();
  console.log(`rclone ${what}`);
}

try {
  const small = join(folder, 'small');
  const large = join(folder, 'large');
  const back = join(folder, 'back');
  const bytes = randomBytes(40 * MEBIBYTE);
  await writeFile(small, 'hello');
  await writeFile(large, bytes);

  await check('stores a small file in one request', async () => {
    await rclone('copyto', small, remote('a/small:1.sif'));
    assert.equal(asked(/^POST .*uploadType=multipart/), 1);
  });
  await check('stores a large file in a resumable session', async () => {
    await rclone('copyto', large, remote('a/large:1.sif'));
    assert.equal(asked(/upload_id=/), 3);
  });
  await check('lists folders and pages', async () => {
    for (const number of [1, 2, 3, 4, 5]) await rclone('copyto', small, remote(`b/c/x${number}:1.sif`));
    assert.deepEqual((await rclone('lsf', remote('b/c'))).trim().split('\n').length, 5);
    assert.deepEqual((await rclone('lsf', remote(''))).trim().split('\n'), ['a/', 'b/']);
    assert.ok(asked(/pageToken=/) > 0);
  });
  await check('reads a range', async () => {
    const range = await rclone('cat', '--offset', '1', '--count', '3', remote('a/small:1.sif'));
    assert.equal(range, 'ell');
    assert.equal(service.requests.findLast(({ headers }) => headers.range)?.headers.range, 'bytes=1-3');
  });
  await check('copies by rewriting, in several steps', async () => {
    await rclone('copyto', remote('a/large:1.sif'), remote('d/copy:2.sif'));
    assert.equal(asked(/rewriteToken=/), 4);
  });
  await check('finds the copy equal, by hash and by content', async () => {
    const sums = await Promise.all(
      ['a/large:1.sif', 'd/copy:2.sif'].map((path) => rclone('md5sum', remote(path))),
    );
    assert.equal(sums[0]?.slice(0, 32), sums[1]?.slice(0, 32));
    assert.equal(sums[0]?.slice(0, 32), (await run('md5sum', [large])).stdout.slice(0, 32));
    await rclone('copyto', remote('d/copy:2.sif'), back);
    assert.ok(bytes.equals(await readFile(back)));
  });
  await check('removes', async () => {
    await rclone('deletefile', remote('d/copy:2.sif'));
    assert.ok(!service.objects.has('d/copy:2.sif'));
  });
} finally {
  await service.close();
  await rm(folder, { recursive: true, force: true });
}
