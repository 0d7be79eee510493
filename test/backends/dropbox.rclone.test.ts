/** rclone, which knows Dropbox's hosts by name, and the driver on the same fake: each finds what the other stored. */
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Backend } from '../../src/backends/backend.ts';
import { needs } from '../helpers/skip.ts';
import { fileOf } from '../helpers/temporary.ts';
import { contentHash } from '../servers/dropbox/files.ts';
import { type FakeDropbox, startFakeDropbox } from '../servers/dropbox.ts';
import { rclone as runRclone, throughFront } from '../servers/rclone.ts';
import { startTlsFront, type TlsFront } from '../servers/tls-front.ts';
import { connectDropbox } from './dropbox/connect.ts';

const MEBIBYTE = 1024 * 1024;

needs({ rclone: true })('Dropbox, as rclone sees it,', () => {
  let service: FakeDropbox;
  let front: TlsFront;
  let backend: Backend;
  let folder: string;
  let env: NodeJS.ProcessEnv;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sregistry-rclone-'));
    service = await startFakeDropbox({ pageSize: 3 });
    const hosts = ['api.dropboxapi.com', 'content.dropboxapi.com', 'notify.dropboxapi.com'];
    front = await startTlsFront(Object.fromEntries(hosts.map((host) => [host, service.url])), folder);
    backend = connectDropbox(service);
    env = { ...throughFront('dropbox', 'sl.rclone', front), RCLONE_CONFIG_LAB_CHUNK_SIZE: '8M' };
  }, 60_000);
  afterAll(async () => {
    await backend.close?.();
    await front[Symbol.asyncDispose]();
    await service.close();
    await rm(folder, { recursive: true, force: true });
  });

  const rclone = (...args: string[]) => runRclone(env, ...args);
  const asked = (pattern: RegExp) => service.requests.filter(({ url }) => pattern.test(url)).length;

  test('is a Dropbox to list, read, copy and remove in', async () => {
    const bytes = randomBytes(20 * MEBIBYTE);
    await rclone('copyto', fileOf(bytes).path, 'lab:a/large.sif');
    expect(asked(/upload_session\/append_v2/)).toBeGreaterThan(1);
    for (const number of [1, 2, 3, 4, 5])
      await rclone('copyto', fileOf(randomBytes(9)).path, `lab:b/c/x${number}.sif`);
    const listed = (await rclone('lsf', '-R', '--files-only', 'lab:b')).toString().trim().split('\n');
    expect(listed).toHaveLength(5);
    expect(asked(/list_folder\/continue/)).toBeGreaterThan(0);

    const range = await rclone('cat', '--offset', '1000', '--count', '3', 'lab:a/large.sif');
    expect(range).toEqual(bytes.subarray(1000, 1003));
    await rclone('copyto', 'lab:a/large.sif', 'lab:d/copy.sif');
    expect(asked(/copy_v2/)).toBe(1);
    const sum = (await rclone('hashsum', 'dropbox', 'lab:d/copy.sif')).toString().slice(0, 64);
    expect(sum).toBe(contentHash(bytes));
    // rclone computes the hash itself.
    const own = (await rclone('hashsum', 'dropbox', fileOf(bytes).path)).toString().slice(0, 64);
    expect(own).toBe(sum);
    await rclone('copyto', fileOf(Buffer.from('other')).path, 'lab:d/copy.sif');
    expect((await rclone('cat', 'lab:d/copy.sif')).toString()).toBe('other');
    await rclone('deletefile', 'lab:d/copy.sif');
    expect((await rclone('lsf', 'lab:d')).toString()).toBe('');
  }, 120_000);

  test('has the images that the driver pushed', async () => {
    for (const size of [70_000, 17 * MEBIBYTE]) {
      const bytes = randomBytes(size);
      await backend.push?.(fileOf(bytes), { collection: 'lab/deep', image: 'hello', tag: `s${size}` });
      expect((await rclone('lsf', '--include', '*.sif', 'lab:lab/deep')).toString()).toContain(
        `s${size}.sif\n`,
      );
      const [name] = (await rclone('lsf', '--include', `*s${size}.sif`, 'lab:lab/deep'))
        .toString()
        .split('\n');
      expect((await rclone('cat', `lab:lab/deep/${name}`)).equals(bytes)).toBe(true);
    }
  }, 60_000);

  test('gives the driver the images that rclone wrote', async () => {
    const bytes = randomBytes(70_000);
    await rclone('copyto', fileOf(bytes).path, 'lab:theirs/hello.sif');
    const image = await backend.resolve({ collection: 'theirs', image: 'hello', tag: 'latest' });
    if (image === undefined) throw new Error('it is absent');
    expect(await buffer(await backend.read(image, 0, image.size))).toEqual(bytes);
    expect(image.revision).toBe(contentHash(bytes));
    const listed = await Array.fromAsync(backend.list('theirs'));
    expect(listed.map(({ name }) => name)).toEqual([image.name]);
  }, 60_000);
});
