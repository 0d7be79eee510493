/** Genuine Apptainer on a mount, and beside it on the same registry. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { needs } from '../helpers/skip.ts';
import { startRegistry, type TestRegistry } from '../servers/docker-registry.ts';
import { largeImage } from '../servers/images.ts';
import { fixture, sha256, World } from './support.ts';

const SMALL = fixture('small-gzip.sif');

let world: World;
let registry: TestRegistry;

needs({ fuse: true, registry: true, apptainer: true, root: true })('Apptainer', () => {
  beforeEach(async () => {
    world = await World.create();
    registry = await startRegistry();
    await world.ok(world.sregistry('backend', 'add', 'lab', '--driver', 'oci', `base=${registry.url}`));
  });
  afterEach(async () => {
    await world.end();
    await registry.remove();
  });

  test('runs an image it pushed itself straight from the mount, of which little is fetched', async () => {
    const large = await largeImage(200);
    await world.apptainer('push', large, `oras://${registry.host}/demo/large:latest`);
    await world.mount();
    const path = join(world.mountpoint, 'lab/demo/large:latest.simg');
    await world.apptainer('exec', path, '/bin/true');
    const { fetchedBytes } = await world.mounted();
    expect(fetchedBytes / (await stat(large)).size).toBeLessThan(0.05);
    await world.ok(`cmp ${large} ${path}`);
  });

  test('pulls what was copied into the mount, with the same sha256', async () => {
    await world.mount();
    await world.ok(`cp ${SMALL} $MNT/lab/demo/copied:1.0.simg`);
    const pulled = join(world.home, 'pulled.sif');
    await world.apptainer('pull', '--disable-cache', pulled, `oras://${registry.host}/demo/copied:1.0`);
    expect(await sha256(pulled)).toBe(await sha256(SMALL));
  });

  test('signs an image in place, which pushes the signed one', async () => {
    await world.ok(world.sregistry('push', SMALL, '--name', 'lab://demo/small:1.0'));
    await world.mount();
    const path = join(world.mountpoint, 'lab/demo/small:1.0.simg');
    await world.apptainer(
      'key',
      'newpair',
      '--name',
      'a',
      '--email',
      'a@example.org',
      '--comment',
      'a',
      '--password',
      '',
      '--push=false',
      '--bit-length',
      '2048',
    );
    await world.apptainer('sign', path);
    await world.apptainer('verify', path);
    const pulled = join(world.home, 'pulled.sif');
    await world.apptainer('pull', '--disable-cache', pulled, `oras://${registry.host}/demo/small:1.0`);
    await world.apptainer('verify', pulled);
  });
});
