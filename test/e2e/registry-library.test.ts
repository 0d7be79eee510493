/** A Singularity Registry Server, which counts downloads of whole files, and a library, which sends ranges, in one mount. */
import { readFile } from 'node:fs/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { needs } from '../helpers/skip.ts';
import { largeImage } from '../servers/images.ts';
import { type FakeLibrary, LIBRARY_TOKEN, startFakeLibrary } from '../servers/library.ts';
import { REGISTRY_LOGIN, type RegistryServer, startRegistryServer } from '../servers/registry-server.ts';
import { fixture, World } from './support.ts';

let world: World;
let registry: RegistryServer;
let library: FakeLibrary;

needs({ fuse: true, apptainer: true, root: true })('one mount of a registry server and a library', () => {
  beforeEach(async () => {
    world = await World.create();
    [registry, library] = await Promise.all([startRegistryServer(), startFakeLibrary()]);
    Object.assign(world.env, {
      SREGISTRY_REGISTRY_BASE: registry.url,
      SREGISTRY_REGISTRY_USERNAME: REGISTRY_LOGIN.username,
      SREGISTRY_REGISTRY_TOKEN: REGISTRY_LOGIN.token,
      SREGISTRY_LIBRARY_BASE: library.url,
      SREGISTRY_LIBRARY_TOKEN: LIBRARY_TOKEN,
    });
    await world.mount('--backend', 'registry', '--backend', 'library');
  });
  afterEach(async () => {
    await world.end();
    await Promise.all([registry.close(), library.close()]);
  });

  test('Apptainer runs an image of the server from an empty cache, with one download', async () => {
    const container = registry.put('lab/large:1.0', await readFile(await largeImage(100)));
    expect(await world.ok('ls $MNT/registry/lab')).toBe('large:1.0.sif\n');
    await world.exec('registry/lab/large:1.0.sif', '/bin/true');
    await world.exec('registry/lab/large:1.0.sif', '/bin/true');
    expect(container.gets).toBe(1);
  });

  test('an image goes by cp from the server to the library and back, and runs there', async () => {
    const bytes = await readFile(fixture('small-gzip.sif'));
    const container = registry.put('lab/hello:1.0', bytes);
    await world.ok(
      'mkdir -p $MNT/library/me/tools && cp $MNT/registry/lab/hello:1.0.sif $MNT/library/me/tools/hello:1.0.sif',
    );
    expect(await world.exec('library/me/tools/hello:1.0.sif', '/bin/echo', 'hello')).toBe('hello\n');
    await world.ok('cp $MNT/library/me/tools/hello:1.0.sif $MNT/registry/My_Lab/Copy:2.0.sif');
    expect(registry.containers.find(({ name }) => name === 'copy')?.bytes.equals(bytes)).toBe(true);
    await world.ok('cmp $MNT/library/me/tools/hello:1.0.sif $MNT/registry/my-lab/copy:2.0.sif');
    expect(container.gets).toBe(1);
  });

  test('Apptainer runs an image of the library, of which little is fetched', async () => {
    const large = await readFile(await largeImage(100));
    await world.ok(world.sregistry('push', await largeImage(100), '--name', 'library://me/tools/large:1.0'));
    await world.exec('library/me/tools/large:1.0.sif', '/bin/true');
    const { fetchedBytes } = await world.mounted();
    expect(fetchedBytes / large.length).toBeLessThan(0.2);
  });
});
