/** The main job on a real registry, with a real mount. */
import { once } from 'node:events';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { isAlive, processStartTime } from '../../src/base/process.ts';
import { isMounted } from '../../src/fs/mountpoint.ts';
import { needs } from '../helpers/skip.ts';
import { startRegistry, type TestRegistry } from '../servers/docker-registry.ts';
import { largeImage } from '../servers/images.ts';
import { eventually, fixture, sha256, World } from './support.ts';

const SMALL = fixture('small-gzip.sif');

let world: World;
let registry: TestRegistry;

/** Bytes of blobs that the registry has sent. */
const bytesSent = () =>
  registry
    .log()
    .filter(({ method, path }) => method === 'GET' && path.includes('/blobs/'))
    .reduce((sum, { bytes }) => sum + bytes, 0);

/** Puts an image into the registry by the CLI, and leaves no trace of it in the cache. */
async function publish(file: string, name: string): Promise<void> {
  await world.ok(world.sregistry('push', file, '--name', `lab://${name}`));
  await world.ok('rm -rf .cache');
}

needs({ fuse: true, registry: true, apptainer: true })('a mount of a registry', () => {
  let large: string;

  beforeAll(async () => {
    large = await largeImage(64);
  }, 300_000);
  beforeEach(async () => {
    world = await World.create();
    registry = await startRegistry();
    await world.ok(world.sregistry('backend', 'add', 'lab', '--driver', 'oci', `base=${registry.url}`));
  });
  afterEach(async () => {
    await world.end();
    await registry.remove();
  });

  test('shows the images of the registry, and their bytes', async () => {
    await publish(SMALL, 'demo/small:1.0');
    await world.mount();
    expect((await world.ok('ls $MNT')).split('\n')).toEqual(expect.arrayContaining(['lab', 'local']));
    expect(await world.ok('ls $MNT/lab $MNT/lab/demo')).toContain('small:1.0.simg');
    expect((await stat(join(world.mountpoint, 'lab/demo/small:1.0.simg'))).mode & 0o777).toBe(0o755);
    await world.ok(`cmp ${SMALL} $MNT/lab/demo/small:1.0.simg`);
    expect((await world.shell('ls $MNT/lab/none')).code).not.toBe(0);
  });

  test('`find -type f` examines no image.', async () => {
    await publish(SMALL, 'demo/small:1.0');
    await publish(SMALL, 'demo/deeper/small:2.0');
    await world.mount();
    const before = registry.log().length;
    const found = await world.ok('find $MNT/lab -type f; find $MNT/lab -mindepth 1 -type d');
    expect(
      found
        .trim()
        .split('\n')
        .map((path) => path.slice(world.mountpoint.length))
        .sort(),
    ).toEqual([
      '/lab/demo',
      '/lab/demo/deeper',
      '/lab/demo/deeper/small:2.0.simg',
      '/lab/demo/small:1.0.simg',
    ]);
    await eventually(() => expect(registry.log().slice(before).length).toBeGreaterThan(2));
    expect(
      registry
        .log()
        .slice(before)
        .filter(({ path }) => path.includes('/manifests/')),
    ).toEqual([]);
    // A file being written is one as well, whatever its name.
    await world.ok(`head -c 100000 ${SMALL} > $MNT/lab/demo/upload.part`);
    expect(await world.ok('find $MNT/lab/demo -maxdepth 1 -type f')).toContain('upload.part');
  });

  test('With `--no-xattrs` there are no extended attributes, and `ls -l` asks for none.', async () => {
    await publish(SMALL, 'demo/small:1.0');
    const read = `python3 -c "import os; print(os.getxattr('$MNT/lab/demo/small:1.0.simg', 'user.sregistry.uri'))"`;
    await world.mount();
    expect(await world.ok(read)).toContain('lab://demo/small:1.0');
    await world.unmount();
    await world.mount('--no-xattrs');
    expect((await world.shell(read)).stderr).toContain('Operation not supported');
    expect(await world.ok('ls -l $MNT/lab/demo')).toContain('small:1.0.simg');
    await world.ok(`cp -a ${SMALL} $MNT/lab/demo/new:1.0.simg && cmp ${SMALL} $MNT/lab/demo/new:1.0.simg`);
  });

  test('the first bytes of a named image take two requests: its manifest, and a range', async () => {
    await publish(SMALL, 'demo/team/small:1.0');
    for (const other of ['demo/other', 'demo/team/other', 'else/where']) await publish(SMALL, `${other}:1.0`);
    await world.mount();
    const before = registry.log().length;
    await world.ok(`cmp -n 4096 ${SMALL} $MNT/lab/demo/team/small:1.0.simg`);
    const requests = () =>
      registry
        .log()
        .slice(before)
        .map(({ method, path }) => `${method} ${path.replace(/sha256:.*/, '')}`);
    await eventually(() => expect(requests().length).toBeGreaterThanOrEqual(2));
    const wanted = ['GET /v2/demo/team/small/manifests/1.0', 'GET /v2/demo/team/small/blobs/'];
    expect(requests().slice(0, 2)).toEqual(wanted);
    // Whatever the kernel reads ahead.
    expect(
      requests()
        .slice(2)
        .filter((request) => request !== wanted[1]),
    ).toEqual([]);
  });

  test('`du` shows what is on local disk.', async () => {
    await publish(SMALL, 'demo/small:1.0');
    await world.mount();
    expect(await world.ok('du -k $MNT/lab/demo/small:1.0.simg')).toMatch(/^0\t/);
    await world.ok('cat $MNT/lab/demo/small:1.0.simg > /dev/null');
    const [kilobytes] = (await world.ok('sleep 1.1; du -k $MNT/lab/demo/small:1.0.simg')).split('\t');
    expect(Number(kilobytes)).toBeGreaterThanOrEqual(Math.floor((await stat(SMALL)).size / 1024));
  });

  test.each([
    ['cp', 'cp $SRC $DST'],
    ['rsync', 'rsync $SRC $DST'],
    ['rsync -a', 'rsync -a $SRC $DST'],
    ['dd', 'dd if=$SRC of=$DST bs=64k status=none'],
    ['install', 'install -m 755 $SRC $DST'],
    ['tar x', 'cp $SRC copied:1.0.simg && tar cf - copied:1.0.simg | tar xf - -C $(dirname $DST)'],
    ['mv', 'cp $SRC moved.sif && mv moved.sif $DST'],
    [
      'two writers after each other',
      'head -c 1000000 $SRC > h1; tail -c +1000001 $SRC > h2; (cat h1; cat h2) > $DST',
    ],
  ])('publishes what %s writes', async (_name, command) => {
    await publish(SMALL, 'demo/small:1.0');
    await world.mount();
    await world.ok(`SRC=${SMALL} DST=$MNT/lab/demo/copied:1.0.simg; ${command}`);
    await world.ok(world.sregistry('pull', 'lab://demo/copied:1.0', '--name', 'pulled.sif', '--no-cache'));
    expect(await sha256(join(world.home, 'pulled.sif'))).toBe(await sha256(SMALL));
    expect((await world.status()).pushes).toEqual([]);
    await world.ok(`cmp ${SMALL} $MNT/lab/demo/copied:1.0.simg`);
  });

  test('what is no image is refused with EINVAL, and the folder and status say why', async () => {
    await publish(SMALL, 'demo/small:1.0');
    await world.mount();
    const { code, stderr } = await world.shell(
      'echo some notes > notes.txt; cp notes.txt $MNT/lab/demo/x:1.simg',
    );
    expect(code).not.toBe(0);
    expect(stderr).toContain('Invalid argument');
    const why = await world.ok('getfattr --only-values -n user.sregistry.error $MNT/lab/demo');
    expect(why).toMatch(/x:1\.simg was refused/);
    expect((await world.status()).pushes).toMatchObject([
      { state: 'refused', error: expect.stringContaining('x:1') },
    ]);
    expect((await world.shell('ls $MNT/lab/demo')).stdout).not.toContain('x:1');
  });

  test('A push that fails is kept, shown by `sregistry status`, and done by the next mount.', async () => {
    await publish(SMALL, 'demo/small:1.0');
    await world.mount();
    await world.ok('ls $MNT/lab/demo');
    await registry.stop();
    const { code, stderr } = await world.shell(`cp ${SMALL} $MNT/lab/demo/kept:1.0.simg`);
    expect(code).not.toBe(0);
    expect(stderr).toContain('kept:1.0.simg');
    expect((await world.status()).pushes).toMatchObject([{ uri: 'lab://demo/kept:1.0', state: 'kept' }]);
    await world.unmount();
    expect((await world.status()).pushes).toMatchObject([{ uri: 'lab://demo/kept:1.0', state: 'kept' }]);
    await registry.restart();
    await world.mount();
    await eventually(async () => expect((await world.status()).pushes).toEqual([]));
    await world.ok(world.sregistry('pull', 'lab://demo/kept:1.0', '--name', 'pulled.sif', '--no-cache'));
    expect(await sha256(join(world.home, 'pulled.sif'))).toBe(await sha256(SMALL));
  });

  test('a registry that is stopped is an error, never an empty folder or a missing image', async () => {
    await publish(SMALL, 'demo/small:1.0');
    await registry.stop();
    await world.mount();
    const list = await world.shell('ls $MNT/lab');
    expect(list.code).not.toBe(0);
    const look = await world.shell('cat $MNT/lab/demo/small:1.0.simg');
    expect(look.stderr).not.toContain('No such file');
    expect(look.code).not.toBe(0);
  });

  test('64 readers at once of an uncached image: the registry sends each byte once', async () => {
    await publish(SMALL, 'demo/small:1.0');
    await world.mount();
    const script = 'for i in $(seq 64); do cat $MNT/lab/demo/small:1.0.simg | sha256sum & done; wait';
    const sums = new Set((await world.ok(script)).trim().split('\n'));
    expect([...sums]).toEqual([`${await sha256(SMALL)}  -`]);
    const { size } = await stat(SMALL);
    await eventually(() => expect(bytesSent()).toBe(size));
  });

  test('after a kill -9 during a read the next mount works and goes on with what was cached', async () => {
    const { size } = await stat(large);
    await publish(large, 'demo/large:1.0');
    await world.mount();
    const { pid } = await world.mounted();
    const reader = once(world.start('cat $MNT/lab/demo/large:1.0.simg > /dev/null'), 'exit');
    await eventually(async () => expect((await world.mounted()).fetchedBytes).toBeGreaterThan(0));
    process.kill(pid, 'SIGKILL');
    await reader;
    await world.mount();
    await world.ok(`cmp ${large} $MNT/lab/demo/large:1.0.simg`);
    expect((await world.mounted()).fetchedBytes).toBeLessThan(size);
  });

  test('mounting and unmounting leaves no process, mount or socket behind', async () => {
    for (let round = 0; round < 3; round += 1) {
      await world.mount();
      const { pid } = await world.mounted();
      await world.unmount();
      expect(processStartTime(pid)).toBeUndefined();
      expect(await isMounted(world.mountpoint)).toBe(false);
      expect((await world.ok('ls -A sregistry')).trim()).toBe('');
    }
  });

  test('SIGTERM unmounts, and so does an unmount from outside', async () => {
    for (const end of [(pid: number) => world.ok(`kill ${pid}`), () => world.ok('fusermount3 -u $MNT')]) {
      await world.mount();
      const { pid } = await world.mounted();
      const startTime = processStartTime(pid) ?? '';
      await end(pid);
      await eventually(() => expect(isAlive({ pid, startTime })).toBe(false));
      expect(await isMounted(world.mountpoint)).toBe(false);
    }
  });

  test('a second mount on the same folder is refused, and the first goes on', async () => {
    await world.mount();
    const { code, stderr } = await world.sregistry('mount', world.mountpoint);
    expect(code).toBe(1);
    expect(stderr).toContain('mounted already');
    await world.ok('ls $MNT/lab');
  });

  test('a mount that cannot be controlled is not left mounted', async () => {
    // Longer than the address of a socket may be (108 bytes, unix(7)).
    const runtime = join(world.home, 'r'.repeat(100));
    await world.ok(`mkdir ${runtime}`);
    world.env.XDG_RUNTIME_DIR = runtime;
    const { code, stderr } = await world.sregistry('mount', world.mountpoint);
    expect(code).toBe(1);
    expect(stderr).toContain('XDG_RUNTIME_DIR');
    expect(await isMounted(world.mountpoint)).toBe(false);
  });

  test('two mounts on one cache show the same image and fetch it once', async () => {
    await publish(SMALL, 'demo/small:1.0');
    await world.mount();
    const second = join(world.home, 'second');
    await world.ok(world.sregistry('mount', second));
    try {
      await world.ok(
        `cat $MNT/lab/demo/small:1.0.simg > /dev/null & cmp ${SMALL} ${second}/lab/demo/small:1.0.simg; wait`,
      );
      const { size } = await stat(SMALL);
      await eventually(() => expect(bytesSent()).toBe(size));
    } finally {
      await world.ok(world.sregistry('unmount', second));
    }
  });

  test('an image pulled by the CLI is not fetched again by the mount', async () => {
    await publish(SMALL, 'demo/small:1.0');
    await world.ok(world.sregistry('pull', 'lab://demo/small:1.0'));
    const { size } = await stat(SMALL);
    await eventually(() => expect(bytesSent()).toBe(size));
    await world.mount();
    await world.ok(`cmp ${SMALL} $MNT/lab/demo/small:1.0.simg`);
    expect((await world.mounted()).fetchedBytes).toBe(0);
    expect(bytesSent()).toBe(size);
  });

  test('`--read-only` gives EROFS to every write.', async () => {
    await publish(SMALL, 'demo/small:1.0');
    await world.mount('--read-only');
    const { code, stderr } = await world.shell(`cp ${SMALL} $MNT/lab/demo/new:1.simg`);
    expect(code).not.toBe(0);
    expect(stderr).toContain('Read-only file system');
    await world.ok(`cmp ${SMALL} $MNT/lab/demo/small:1.0.simg`);
  });

  test('with --allow-delete, rm and mv change the registry', async () => {
    await publish(SMALL, 'demo/small:1.0');
    await world.mount();
    const refused = await world.shell('rm -f $MNT/lab/demo/small:1.0.simg');
    expect(refused.stderr).toContain('Operation not permitted');
    await world.unmount();
    await world.mount('--allow-delete');
    await world.ok('mv $MNT/lab/demo/small:1.0.simg $MNT/lab/demo/small:2.0.simg');
    expect((await world.ok('ls $MNT/lab/demo')).trim()).toBe('small:2.0.simg');
    await world.ok(`cmp ${SMALL} $MNT/lab/demo/small:2.0.simg`);
    await world.ok('rm $MNT/lab/demo/small:2.0.simg');
    expect((await world.shell('cat $MNT/lab/demo/small:2.0.simg')).stderr).toContain('No such file');
  });

  test('the log of the mount tells what was refused', async () => {
    await world.mount();
    await world.shell('cp /etc/hostname $MNT/lab/x:1.simg');
    expect(await world.mountLog()).toMatch(/x:1\.simg was refused/);
  });
});
