/** A mount that shows signed images only, as a person uses it. */
import { copyFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { needs } from '../helpers/skip.ts';
import { fixture, World } from './support.ts';

let world: World;

needs({ fuse: true })('a mount with --require-signed', () => {
  beforeEach(async () => {
    world = await World.create();
    const shelf = join(world.home, 'shelf');
    await mkdir(join(shelf, 'demo'), { recursive: true });
    await copyFile(fixture('small-signed.sif'), join(shelf, 'demo/good:1.sif'));
    await copyFile(fixture('small-gzip.sif'), join(shelf, 'demo/unsigned:1.sif'));
    await world.ok(world.sregistry('backend', 'add', 'shelf', '--driver', 'dir', `base=${shelf}`));
  });
  afterEach(() => world.end());

  test('With `--require-signed`, opening an image that no key of the ring has signed gives EACCES, and `user.sregistry.error` says why.', async () => {
    await world.mount('--require-signed', fixture('signer.asc'));
    await world.ok(`cmp ${fixture('small-signed.sif')} $MNT/shelf/demo/good:1.sif`);
    const { code, stderr } = await world.shell('cat $MNT/shelf/demo/unsigned:1.sif');
    expect(code).not.toBe(0);
    expect(stderr).toContain('Permission denied');
    const why = await world.ok(
      'getfattr --only-values -n user.sregistry.error $MNT/shelf/demo/unsigned:1.sif',
    );
    expect(why).toContain('It is not signed');
    await world.ok(`cp ${fixture('small-gzip.sif')} $MNT/shelf/demo/unsigned:1.sif`);
    await world.ok(`cp ${fixture('small-signed.sif')} $MNT/shelf/demo/unsigned:1.sif`);
    await world.ok(`cmp ${fixture('small-signed.sif')} $MNT/shelf/demo/unsigned:1.sif`);
  });

  test('a key ring that is none is said when one mounts', async () => {
    const { code, stderr } = await world.sregistry(
      'mount',
      world.mountpoint,
      '-o',
      'require_signed=/dev/null',
    );
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: expect.stringContaining('There are no PGP public keys'),
    });
  });
});
