/** rclone and the driver on the same Swift: each finds what the other stored, in segments and without. */
import { randomBytes } from 'node:crypto';
import { buffer } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Backend } from '../../src/backends/backend.ts';
import { needs } from '../helpers/skip.ts';
import { fileOf } from '../helpers/temporary.ts';
import { rclone as runRclone } from '../servers/rclone.ts';
import { connectSwift, startSwift, type TestSwift } from '../servers/swift.ts';

const MEBIBYTE = 1024 * 1024;

needs({ rclone: true, swift: true })('Swift, as rclone sees it,', () => {
  let service: TestSwift;
  let backend: Backend;
  const collection = `rclone-${Date.now()}`;

  beforeAll(async () => {
    service = await startSwift();
    backend = connectSwift(service, { segment: '1MiB' });
  }, 60_000);
  afterAll(async () => {
    await backend.close?.();
    await service.stop();
  });

  function rclone(...args: string[]): Promise<Buffer> {
    const env = {
      PATH: process.env.PATH,
      RCLONE_CONFIG: '/dev/null',
      RCLONE_CONFIG_LAB_TYPE: 'swift',
      RCLONE_CONFIG_LAB_USER: service.login.user,
      RCLONE_CONFIG_LAB_KEY: service.login.token,
      RCLONE_CONFIG_LAB_AUTH: service.auth,
      RCLONE_CONFIG_LAB_AUTH_VERSION: '1',
      RCLONE_SWIFT_CHUNK_SIZE: '1M',
    };
    return runRclone(env, ...args);
  }
  test.each([
    ['small', 70_000],
    ['large', 3.5 * MEBIBYTE],
  ])(
    'has the %s image that the driver pushed',
    async (image, size) => {
      const bytes = randomBytes(size);
      await backend.push?.(fileOf(bytes), { collection, image, tag: '1.0' });
      expect((await rclone('lsf', `lab:${collection}`)).toString()).toContain(`${image}:1.0.sif\n`);
      expect((await rclone('lsjson', `lab:${collection}/${image}:1.0.sif`)).toString()).toContain(
        `"Size":${size}`,
      );
      expect(await rclone('cat', `lab:${collection}/${image}:1.0.sif`)).toEqual(bytes);
    },
    60_000,
  );

  test.each([
    ['small', 70_000],
    ['large', 3.5 * MEBIBYTE],
  ])(
    'gives the driver the %s image that rclone wrote, and loses it again',
    async (image, size) => {
      const bytes = randomBytes(size);
      const name = { collection: `${collection}/theirs`, image, tag: '2.0' };
      await rclone('copyto', fileOf(bytes).path, `lab:${name.collection}/${image}:2.0.sif`);
      const found = await backend.resolve(name);
      if (found === undefined) throw new Error('it is absent');
      expect(await buffer(await backend.read(found, 0, found.size))).toEqual(bytes);
      expect(found.annotations).toEqual({});
      const listed = await Array.fromAsync(backend.list(name.collection));
      expect(listed.map((entry) => entry.name)).toContainEqual(name);
      await backend.remove?.(found);
      expect((await rclone('lsf', `lab:${name.collection}`)).toString()).not.toContain(image);
    },
    60_000,
  );
});
