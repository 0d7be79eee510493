/** rclone, which knows Google's hosts by name, and the driver on the same fake: each finds what the other stored. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Backend } from '../../src/backends/backend.ts';
import { needs } from '../helpers/skip.ts';
import { fileOf } from '../helpers/temporary.ts';
import { type FakeDrive, startFakeDrive } from '../servers/drive.ts';
import { rclone as runRclone, throughFront } from '../servers/rclone.ts';
import { startTlsFront, type TlsFront } from '../servers/tls-front.ts';
import { connectDrive } from './drive/connect.ts';

const MEBIBYTE = 1024 * 1024;

needs({ rclone: true })('Google Drive, as rclone sees it,', () => {
  let service: FakeDrive;
  let front: TlsFront;
  let backend: Backend;
  let folder: string;
  let env: NodeJS.ProcessEnv;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sregistry-rclone-'));
    service = await startFakeDrive({ pageSize: 3, accepts: () => true });
    front = await startTlsFront({ 'www.googleapis.com': service.url }, folder);
    backend = await connectDrive(service, folder);
    env = { ...throughFront('drive', 'ya29.rclone', front), RCLONE_CONFIG_LAB_SCOPE: 'drive' };
  }, 60_000);
  afterAll(async () => {
    await backend.close?.();
    await front[Symbol.asyncDispose]();
    await service.close();
    await rm(folder, { recursive: true, force: true });
  });

  const rclone = (...args: string[]) => runRclone(env, ...args);
  const asked = (pattern: RegExp) =>
    service.requests.filter(({ method, url }) => pattern.test(`${method} ${url}`)).length;

  test('is a drive to list, read, copy and remove in', async () => {
    const bytes = randomBytes(20 * MEBIBYTE);
    await rclone('copyto', fileOf(bytes).path, 'lab:a/large:1.sif');
    expect(asked(/^POST .*upload_id=/)).toBe(3);
    for (const number of [1, 2, 3, 4, 5])
      await rclone('copyto', fileOf(randomBytes(9)).path, `lab:b/c/x${number}:1.sif`);
    expect(asked(/^POST .*uploadType=multipart/)).toBe(5);
    const listed = (await rclone('lsf', '-R', '--files-only', 'lab:b')).toString().trim().split('\n');
    expect(listed).toHaveLength(5);
    expect(asked(/pageToken=/)).toBeGreaterThan(0);

    const range = await rclone('cat', '--offset', '1000', '--count', '3', 'lab:a/large:1.sif');
    expect(range).toEqual(bytes.subarray(1000, 1003));
    await rclone('copyto', 'lab:a/large:1.sif', 'lab:d/copy:2.sif');
    expect(asked(/^POST .*\/copy/)).toBe(1);
    const sum = (await rclone('md5sum', 'lab:d/copy:2.sif')).toString().slice(0, 32);
    expect(sum).toBe(createHash('md5').update(bytes).digest('hex'));
    await rclone('copyto', fileOf(Buffer.from('other')).path, 'lab:d/copy:2.sif');
    expect((await rclone('cat', 'lab:d/copy:2.sif')).toString()).toBe('other');
    await rclone('deletefile', 'lab:d/copy:2.sif');
    expect((await rclone('lsf', 'lab:d')).toString()).toBe('');
  }, 120_000);

  test('has the images that the driver pushed', async () => {
    const bytes = randomBytes(70_000);
    await backend.push?.(fileOf(bytes), { collection: 'lab/deep', image: 'hello', tag: '1.0' });
    expect((await rclone('lsf', 'lab:sregistry/lab/deep')).toString()).toBe('hello:1.0.sif\n');
    expect(await rclone('cat', 'lab:sregistry/lab/deep/hello:1.0.sif')).toEqual(bytes);
  }, 60_000);

  test('gives the driver the images that rclone wrote', async () => {
    const bytes = randomBytes(70_000);
    await rclone('copyto', fileOf(bytes).path, 'lab:sregistry/theirs/hello:2.0.sif');
    const image = await backend.resolve({ collection: 'theirs', image: 'hello', tag: '2.0' });
    if (image === undefined) throw new Error('it is absent');
    expect(await buffer(await backend.read(image, 0, image.size))).toEqual(bytes);
    expect(image.digest).toBe(`sha256:${createHash('sha256').update(bytes).digest('hex')}`);
    const listed = await Array.fromAsync(backend.list('theirs'));
    expect(listed.map(({ name }) => name)).toEqual([image.name]);
  }, 60_000);
});
