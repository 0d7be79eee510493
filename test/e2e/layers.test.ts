/** Containers in layers on a real registry, as files of a real mount. */
import { readFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { needs } from '../helpers/skip.ts';
import { startRegistry, type TestRegistry } from '../servers/docker-registry.ts';
import { type Layer, layerOf, pushIndex, pushLayered, tarOf } from '../servers/layered.ts';
import { World } from './support.ts';

let world: World;
let registry: TestRegistry;

/** Three layers: programs, what is removed and changed above, and files of an application. */
async function layers(compression: 'gzip' | 'zstd' | 'none' = 'gzip'): Promise<Layer[]> {
  const libraries = (
    await world.ok('ldd /bin/dash | grep -o "/[^ ]*"; ldd /bin/cat | grep -o "/[^ ]*"')
  ).split('\n');
  const files = [...new Set(libraries.filter((path) => path !== ''))];
  const base = tarOf([
    { path: 'bin/', type: 'directory' },
    { path: 'bin/sh', data: readFileSync('/bin/dash'), mode: 0o755 },
    { path: 'bin/cat', data: readFileSync('/bin/cat'), mode: 0o755 },
    ...files.map((path) => ({ path: path.slice(1), data: readFileSync(path), mode: 0o755 })),
    { path: 'etc/', type: 'directory' as const },
    { path: 'etc/gone', data: 'gone' },
    { path: 'etc/version', data: 'one\n' },
  ]);
  const middle = tarOf([{ path: 'etc/.wh.gone' }, { path: 'etc/version', data: 'two\n' }]);
  const top = tarOf([
    { path: 'app/', type: 'directory' },
    { path: 'app/data', data: Buffer.alloc(1_000_000, 'sregistry ') },
    { path: 'app/again', type: 'hard-link', target: 'app/data' },
  ]);
  return [base, middle, top].map((tar) => layerOf(tar, compression));
}

const blobGets = () =>
  registry
    .log()
    .filter(({ method, path, status }) => method === 'GET' && path.includes('/blobs/') && status < 300);

needs({ fuse: true, registry: true, apptainer: true, root: true })('a container in layers', () => {
  beforeEach(async () => {
    world = await World.create();
    registry = await startRegistry();
    await world.ok(world.sregistry('backend', 'add', 'lab', '--driver', 'oci', `base=${registry.url}`));
  });
  afterEach(async () => {
    await world.end();
    await registry.remove();
  });

  test('is run by Apptainer from the mount', async () => {
    const config = {
      Env: ['PATH=/bin', 'GREETING=hello'],
      Entrypoint: ['/bin/sh', '-c'],
      Cmd: ['echo $GREETING'],
    };
    await pushLayered(registry.url, 'demo/app', '1.0', await layers(), config);
    await world.mount();
    const image = 'lab/demo/app:1.0.simg';
    expect(await world.exec(image, '/bin/cat', '/etc/version')).toBe('two\n');
    expect(await world.exec(image, '/bin/sh', '-c', 'echo $GREETING; [ -e /etc/gone ] || echo removed')).toBe(
      'hello\nremoved\n',
    );
    expect(await world.apptainer('run', join(world.mountpoint, image))).toBe('hello\n');
  });
});
