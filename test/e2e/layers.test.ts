/** Containers in layers on a real registry, as files of a real mount. */
import { createHash, randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { hostPlatform } from '../../src/base/platform.ts';
import { needs } from '../helpers/skip.ts';
import { startRegistry, type TestRegistry } from '../servers/docker-registry.ts';
import {
  digestOf,
  type Layer,
  layerOf,
  pushIndex,
  pushLayered,
  type TarEntry,
  tarOf,
} from '../servers/layered.ts';
import { chunkedOf, stargzOf } from '../servers/toc-layers.ts';
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

/** How often the registry sent a layer. */
const sent = ({ blob }: Layer) =>
  registry
    .log()
    .filter(({ method, path, status }) => method === 'GET' && status < 300 && path.endsWith(digestOf(blob)))
    .length;

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

  test('A Docker image in layers is one file, which Apptainer runs.', async () => {
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

  test('Of an image for several platforms a mount shows the one for this machine, or the one that `--arch` names.', async () => {
    const own = hostPlatform().architecture;
    const images = Object.fromEntries(
      await Promise.all(
        [own, 's390x', 'ppc64le'].map(async (arch) => {
          const layer = layerOf(tarOf([{ path: 'arch', data: `made-for-${arch}` }]), 'none');
          return [arch, await pushLayered(registry.url, 'demo/app', arch, [layer], {}, arch)] as const;
        }),
      ),
    );
    await pushIndex(registry.url, 'demo/app', '1.0', images);
    const image = '$MNT/lab/demo/app:1.0.simg';
    for (const [flags, arch] of [
      [[], own],
      [['--arch', 's390x'], 's390x'],
      [['-o', 'ro,arch=s930x'], undefined],
      [['-o', 'ro,arch=ppc64le'], 'ppc64le'],
      [[], own],
    ] as const) {
      if (arch === undefined) {
        const { code, stderr } = await world.sregistry('mount', world.mountpoint, ...flags);
        expect([code, stderr]).toEqual([2, expect.stringContaining('Did you mean s390x?')]);
        continue;
      }
      await world.mount(...flags);
      expect(await world.ok(`grep -a -o 'made-for-[a-z0-9]*' ${image}`)).toBe(`made-for-${arch}\n`);
      expect(await world.ok(`stat -c %a ${image}`)).toMatch(/^[75]55\n/);
      await world.unmount();
    }
    await world.mount('--arch', 'arm/v7');
    expect(await world.ok(`stat -c %a ${image}`)).toBe('0\n');
    expect((await world.shell(`cat ${image}`)).stderr).toContain('Wrong medium type');
    expect(await world.ok(`getfattr --only-values -n user.sregistry.error ${image}`)).toContain(
      `an image for linux/${own}, linux/s390x, linux/ppc64le, not for linux/arm/v7; choose one with --arch`,
    );
  });

  test('The first open of an image in layers fetches them, each whole and once, and shares them with other images.', async () => {
    const [base, middle, top] = (await layers()) as [Layer, Layer, Layer];
    await pushLayered(registry.url, 'demo/app', '1.0', [base, middle, top]);
    await pushLayered(registry.url, 'demo/app', '2.0', [base, middle]);
    await world.mount();
    await world.ok(
      'cd $MNT/lab/demo; ls -l; head -c 4 app:1.0.simg; cat app:1.0.simg > /dev/null & cat app:2.0.simg > /dev/null; wait',
    );
    await world.ok('cat $MNT/lab/demo/app:1.0.simg > /dev/null');
    await expect.poll(() => [base, middle, top].map(sent)).toEqual([1, 1, 1]);
    expect(await world.ok('du -k $MNT/lab/demo/app:1.0.simg')).not.toMatch(/^0\t/);
  });

  test('What the cache has evicted of a layer is read again in parts.', async () => {
    const [base] = (await layers()) as [Layer];
    // Bytes that do not compress, so that a span of the archive is as large in the blob.
    const noise = (seed: number) =>
      createHash('shake256', { outputLength: 16 << 20 })
        .update(`${seed}`)
        .digest();
    const entries: TarEntry[] = [0, 1].map((seed) => ({ path: `noise${seed}`, data: noise(seed) }));
    const large = layerOf(tarOf(entries.toSpliced(1, 0, { path: 'word', data: 'parts\n' })));
    await pushLayered(registry.url, 'demo/app', '1.0', [base, large]);
    await world.mount();
    const image = 'lab/demo/app:1.0.simg';
    const whole = await world.ok(`sha256sum < $MNT/${image}`);
    const recorded = [base, large].filter(({ blob }) => blob.length >= 1 << 20).length;
    const points = () => readdirSync(join(world.cache, 'points'));
    await expect.poll(points, { timeout: 20_000 }).toHaveLength(recorded);
    // A layer that is still open stays for the next time.
    const pruned = async () => {
      await world.ok(world.sregistry('cache', 'prune'));
      return JSON.parse(await world.ok(world.sregistry('cache', 'ls', '--json')));
    };
    await expect.poll(pruned).toEqual([]);
    // The kernel keeps what it has read.
    await world.ok(`dd if=$MNT/${image} iflag=nocache count=0 status=none`);
    const before = (await world.mounted()).fetchedBytes;
    expect(await world.exec(image, '/bin/cat', '/word')).toBe('parts\n');
    const fetched = (await world.mounted()).fetchedBytes - before;
    expect(fetched).toBeGreaterThan(0);
    expect(fetched).toBeLessThan(large.blob.length / 2);
    expect(await world.ok(`sha256sum < $MNT/${image}`)).toBe(whole);
  });

  test.each([
    ['eStargz', stargzOf],
    ['zstd:chunked', chunkedOf],
  ])('A layer with a table of contents is fetched as it is read. (%s)', async (_, make) => {
    const large = tarOf([
      { path: 'opt/', type: 'directory' },
      { path: 'opt/unread', data: randomBytes(30_000_000) },
      { path: 'opt/damaged', data: randomBytes(5_000_000) },
    ]);
    const parts = [...(await layers()).map(({ tar }) => make(tar)), make(large)];
    const total = parts.reduce((sum, { blob }) => sum + blob.length, 0);
    const { blob } = parts[3] as Layer;
    await pushLayered(registry.url, 'demo/app', '1.0', parts);
    await world.mount();
    const image = 'lab/demo/app:1.0.simg';
    expect(await world.exec(image, '/bin/cat', '/etc/version')).toBe('two\n');
    expect(await world.exec(image, '/bin/sh', '-c', '[ -e /etc/gone ] || echo removed')).toBe('removed\n');
    const { fetchedBytes } = await world.mounted();
    expect(fetchedBytes).toBeGreaterThan(0);
    expect(fetchedBytes).toBeLessThan(total / 5);
    expect(parts.map(sent).every((requests) => requests > 0)).toBe(true);
    const file = registry.blobFile(digestOf(blob));
    writeFileSync(file, Buffer.from(blob).fill(7, blob.length - 2_000_000, blob.length - 1_900_000));
    const read = `cat $MNT/${image} > /dev/null`;
    const { code, stderr } = await world.shell(read);
    expect([code, stderr]).toEqual([1, expect.stringContaining('Input/output error')]);
    expect(await world.ok(`getfattr --only-values -n user.sregistry.error $MNT/${image}`)).toContain(
      'chunk of the layer',
    );
    writeFileSync(file, blob);
    expect(Number(await world.ok(`cat $MNT/${image} | wc -c`))).toBeGreaterThan(36_000_000);
  });

  test('Until then `stat` shows an estimate of its size, from then on the size. What it says of itself needs no layer.', async () => {
    const all = await layers();
    await pushLayered(registry.url, 'demo/app', '1.0', all, { Labels: { owner: 'lab' } });
    await world.mount();
    const path = '$MNT/lab/demo/app:1.0.simg';
    const estimate = Number(await world.ok(`stat -c %s ${path}`));
    const compressed = all.reduce((sum, { blob }) => sum + blob.length, 0);
    expect(estimate).toBeGreaterThan(compressed);
    expect(await world.ok(`stat -c %a:%y ${path}`)).toMatch(/^755:2020-02-02 02:02:02/);
    expect(await world.ok(`getfattr --only-values -n user.sregistry.labels ${path}`)).toContain(
      '"owner":"lab"',
    );
    expect(await world.ok(`cat ${path}.json`)).toContain('"owner": "lab"');
    expect(all.map(sent)).toEqual([0, 0, 0]);
    // The kernel was told the estimate a moment ago, and would cut what is read to it.
    const read = Number(await world.ok(`stat ${path} > /dev/null; cat ${path} | wc -c`));
    expect(read).not.toBe(estimate);
    expect(read).toBeGreaterThan(all.reduce((sum, { tar }) => sum + tar.length, 0));
    expect(Number(await world.ok(`sleep 1.1; stat -c %s ${path}`))).toBe(read);
  });

  test('A layer that does not have its digests gives EIO, and none of its bytes.', async () => {
    const [base, middle, top] = (await layers()) as [Layer, Layer, Layer];
    await pushLayered(registry.url, 'demo/app', '1.0', [base, { ...middle, diffId: top.diffId }]);
    await world.mount();
    const { code, stdout, stderr } = await world.shell('cat $MNT/lab/demo/app:1.0.simg');
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr).toContain('Input/output error');
    expect(
      await world.ok('getfattr --only-values -n user.sregistry.error $MNT/lab/demo/app:1.0.simg'),
    ).toContain('layer 2 of 2 was damaged');
  });

  test('An image in layers that is copied into another folder is published as a SquashFS.', async () => {
    await pushLayered(registry.url, 'demo/app', '1.0', await layers());
    await world.mount();
    await world.ok('cp $MNT/lab/demo/app:1.0.simg $MNT/lab/other/copy:1.simg');
    await world.ok('cmp $MNT/lab/demo/app:1.0.simg $MNT/lab/other/copy:1.simg');
    await world.ok(world.sregistry('pull', 'lab://other/copy:1', '--name', 'pulled.simg', '--no-cache'));
    await world.ok('cmp pulled.simg $MNT/lab/demo/app:1.0.simg');
    const { code, stderr } = await world.shell('echo x >> $MNT/lab/demo/app:1.0.simg');
    expect([code, stderr]).toEqual([1, expect.stringContaining('Wrong medium type')]);
    expect(await world.apptainer('exec', join(world.home, 'pulled.simg'), '/bin/cat', '/etc/version')).toBe(
      'two\n',
    );
  });
});
