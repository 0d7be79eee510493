/** Writers, readers and crashes on a real mount of a real registry. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { needs } from '../helpers/skip.ts';
import { startRegistry, type TestRegistry } from '../servers/docker-registry.ts';
import { eventually, fixture, sha256, World } from './support.ts';

const SMALL = fixture('small-gzip.sif');
const OTHER = fixture('small-zstd.sif');
const IMAGE = '$MNT/lab/demo/image:1.simg';

let world: World;
let registry: TestRegistry;

/** The sha256 of what the registry has, past mount and cache. */
async function stored(name: string): Promise<string> {
  await world.ok(
    world.sregistry('pull', `lab://demo/${name}`, '--name', 'pulled.sif', '--force', '--no-cache'),
  );
  return sha256(join(world.home, 'pulled.sif'));
}

/** A process that changes the beginning of the image in place, and does not come to closing it. */
function startUpdate(): ChildProcess {
  const script = `
    const fs = require('node:fs');
    fs.writeSync(fs.openSync(process.env.MNT + '/lab/demo/image:1.simg', 'r+'), '#!/usr/bin/env RUN', 0);
    fs.writeFileSync('wrote', '');
    setTimeout(() => {}, 100_000);`;
  return spawn(process.execPath, ['-e', script], { env: world.env, cwd: world.home, stdio: 'ignore' });
}

needs({ fuse: true, registry: true })('writing into a mount', () => {
  beforeEach(async () => {
    world = await World.create();
    registry = await startRegistry();
    await world.ok(world.sregistry('backend', 'add', 'lab', '--driver', 'oci', `base=${registry.url}`));
    await world.ok(world.sregistry('push', SMALL, '--name', 'lab://demo/image:1'));
  });
  afterEach(async () => {
    await world.end();
    await registry.remove();
  });

  test('a file that was just copied in is whole for whoever opens it next', async () => {
    await world.mount();
    const [small, other] = [await sha256(SMALL), await sha256(OTHER)];
    const script = `for i in 1 2 3 4 5; do for f in ${OTHER} ${SMALL}; do cp $f ${IMAGE}; sha256sum < ${IMAGE}; done; done`;
    const sums = (await world.ok(script)).trim().split('\n');
    expect(sums).toEqual(sums.map((_, index) => `${index % 2 === 0 ? other : small}  -`));
    expect(await world.ok('ls .cache/sregistry/staging')).toBe('');
  });

  test('a collection that does not exist yet needs no mkdir', async () => {
    await world.ok(world.sregistry('backend', 'add', 'shelf', '--driver', 'dir', `base=${world.home}/shelf`));
    await world.ok('mkdir shelf');
    await world.mount();
    for (const folder of ['lab/new', 'shelf/new/deep', 'local/new']) {
      expect((await world.shell(`ls $MNT/${folder}`)).code).not.toBe(0);
      await world.ok(`mkdir -p $MNT/${folder} && cp ${SMALL} $MNT/${folder}/image:1.0.sif`);
      const found = await world.ok(`ls $MNT/${folder} && cmp ${SMALL} $MNT/${folder}/image:1.0.sif`);
      expect(found).toContain('image:1.0.');
    }
  });

  test('a tag over which something else than an image was written is whole for whoever opens it next', async () => {
    await world.mount();
    const sums = await world.ok(
      `for i in 1 2 3; do cp /etc/passwd ${IMAGE} 2> refused && exit 1; sha256sum < ${IMAGE}; done`,
    );
    expect(sums).toBe(`${await sha256(SMALL)}  -\n`.repeat(3));
  });

  test('what is open is not written in place; a rename over it leaves its readers what they opened', async () => {
    await world.mount();
    const script = `
      exec 3< ${IMAGE}
      cp ${OTHER} ${IMAGE} 2> refused && exit 1
      cp ${OTHER} $MNT/lab/demo/.image.tmp && mv -f $MNT/lab/demo/.image.tmp ${IMAGE} || exit 2
      sha256sum < ${IMAGE}
      sha256sum <&3`;
    const sums = await world.ok(script);
    expect(await world.ok('cat refused')).toContain('Text file busy');
    expect(sums).toBe(`${await sha256(OTHER)}  -\n${await sha256(SMALL)}  -\n`);
    expect(await stored('image:1')).toBe(await sha256(OTHER));
  });

  test('rsync replaces an image that is being read', async () => {
    await world.mount();
    const sums = await world.ok(
      `exec 3< ${IMAGE}; rsync -a ${OTHER} ${IMAGE}; sha256sum <&3 && sha256sum < ${IMAGE}`,
    );
    expect(sums).toBe(`${await sha256(SMALL)}  -\n${await sha256(OTHER)}  -\n`);
  });

  test('an update whose writer is killed is not published, and status tells of it', async () => {
    await world.mount();
    const before = await sha256(SMALL);
    const writer = startUpdate();
    const ended = once(writer, 'exit');
    await eventually(() => stat(join(world.home, 'wrote')));
    writer.kill('SIGKILL');
    await ended;
    await eventually(async () =>
      expect((await world.status()).pushes).toMatchObject([
        { state: 'incomplete', error: 'Its writer was killed while changing it' },
      ]),
    );
    expect(await stored('image:1')).toBe(before);
  });

  test('an update in place by a writer that closes its file is published', async () => {
    await world.mount();
    await world.ok(`printf '#!/usr/bin/env RUN' | dd of=${IMAGE} conv=notrunc status=none`);
    expect(await world.ok(`head -c 18 ${IMAGE}`)).toBe('#!/usr/bin/env RUN');
    expect(await stored('image:1')).not.toBe(await sha256(SMALL));
    expect((await world.status()).pushes).toEqual([]);
  });

  test('a mount that is killed in the middle of an update leaves the tag as it was, and the next one lists it', async () => {
    await world.mount();
    const { pid } = await world.mounted();
    const writer = startUpdate();
    const ended = once(writer, 'exit');
    await eventually(() => stat(join(world.home, 'wrote')));
    process.kill(pid, 'SIGKILL');
    await world.ok('until ! ls $MNT 2> /dev/null; do sleep 0.1; done');
    writer.kill('SIGKILL');
    await ended;
    await world.mount();
    expect((await world.status()).pushes).toMatchObject([{ state: 'incomplete', uri: 'lab://demo/image:1' }]);
    expect(await world.ok(`sha256sum < ${IMAGE}`)).toBe(`${await sha256(SMALL)}  -\n`);
    expect(await stored('image:1')).toBe(await sha256(SMALL));
  });

  test.each([true, false])(
    'what was not pushed is pushed or dropped on its owner’s word (by a living mount: %s)',
    async (lives) => {
      await world.mount();
      for (const name of ['mine:1', 'gone:1', 'part:1'])
        await world.ok(`head -c 1000000 ${OTHER} > $MNT/lab/demo/${name}.simg`);
      // Whole by its header, with bytes that nobody wrote.
      const skip = 'bs=1000 conv=notrunc status=none';
      for (const name of ['mine:1', 'gone:1'])
        await world.ok(`dd if=${OTHER} of=$MNT/lab/demo/${name}.simg ${skip} skip=1300 seek=1300`);
      if (!lives) await world.unmount();
      expect((await world.status()).pushes.map(({ state }) => state)).toEqual(Array(3).fill('incomplete'));
      await world.ok(world.sregistry('push', '--drop', 'lab://demo/gone:1'));
      const { code, stdout, stderr } = await world.sregistry('push', '--kept');
      expect([code, stdout]).toEqual([1, 'pushed   lab://demo/mine:1\n']);
      expect(stderr).toContain('lab://demo/part:1: ');
      expect((await world.status()).pushes).toMatchObject([
        { uri: 'lab://demo/part:1', state: 'incomplete' },
      ]);
      await world.ok(world.sregistry('push', '--drop', 'lab://demo/part:1'));
      expect((await world.status()).pushes).toEqual([]);
      expect(await world.ok('ls -A .cache/sregistry/staging')).toBe('');
      await stored('mine:1');
      expect((await stat(join(world.home, 'pulled.sif'))).size).toBe((await stat(OTHER)).size);
      expect((await world.sregistry('push', '--drop', 'lab://demo/part:1')).stderr).toContain(
        'No file is kept',
      );
    },
  );

  test('a push that failed is made at once when its owner says so', async () => {
    await world.mount();
    await world.ok('ls $MNT/lab/demo');
    await registry.stop();
    expect((await world.shell(`cp ${OTHER} $MNT/lab/demo/kept:1.simg`)).code).not.toBe(0);
    await registry.restart();
    await world.ok(world.sregistry('push', '--kept', 'lab://demo/kept:1'));
    expect(await stored('kept:1')).toBe(await sha256(OTHER));
    expect((await world.status()).pushes).toEqual([]);
  });

  test('a copy whose writer is killed is not published, and can be written again', async () => {
    await world.mount();
    const script = `(head -c 1000000 ${OTHER}; touch wrote; exec sleep 100) > ${IMAGE}`;
    const writer = world.start(`exec bash -c '${script}'`);
    const ended = once(writer, 'exit');
    await eventually(() => stat(join(world.home, 'wrote')));
    writer.kill('SIGKILL');
    await ended;
    await world.ok(`cp ${OTHER} ${IMAGE}`);
    expect(await stored('image:1')).toBe(await sha256(OTHER));
  });
});
