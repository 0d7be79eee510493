/** How a mount ends: by request, by force, by a signal, from outside. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmod,
  chown,
  mkdir,
  readdir,
  readFile,
  readlink,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, onTestFinished, test } from 'vitest';
import { isAlive, processStartTime } from '../../src/base/process.ts';
import { recordPath } from '../../src/fs/mount-record.ts';
import { isMounted } from '../../src/fs/mountpoint.ts';
import { needs } from '../helpers/skip.ts';
import { holdPush } from './held-push.ts';
import { eventually, fixture, World } from './support.ts';

const SMALL = fixture('small-gzip.sif');
const IMAGE = '$MNT/shelf/demo/small:1.0.simg';

let world: World;

needs({ fuse: true })('the end of a mount', () => {
  beforeEach(async () => {
    world = await World.create();
    await world.ok(`mkdir -p shelf/demo && cp ${SMALL} shelf/demo/small:1.0.sif`);
    await world.ok(world.sregistry('backend', 'add', 'shelf', '--driver', 'dir', `base=${world.home}/shelf`));
  });
  afterEach(() => world.end());

  test('Unmounting a mount that is in use gives BUSY, names what is open and who has it open, and changes nothing.', async () => {
    await world.mount();
    const { pid } = await world.mounted();
    const holder = await hold(`exec 3< ${IMAGE}`);
    const { code, stderr } = await world.sregistry('unmount', world.mountpoint);
    expect(code).toBe(1);
    expect(stderr).toContain(`/shelf/demo/small:1.0.simg: open in bash (process ${holder.pid})`);
    expect(stderr).toContain(`sregistry unmount --force ${world.mountpoint}`);
    expect(await world.mounted()).toMatchObject({
      pid,
      open: [{ path: '/shelf/demo/small:1.0.simg', writing: false }],
    });
    await world.ok(`cmp ${SMALL} ${IMAGE}`);
    await stop(holder);
    await world.unmount();
    expect(processStartTime(pid)).toBeUndefined();
  });

  test('A working directory on a mount keeps it in use.', async () => {
    await world.mount();
    const holder = await hold('cd $MNT/shelf/demo');
    const { code, stderr } = await world.sregistry('unmount', world.mountpoint);
    expect(code).toBe(1);
    expect(stderr).toContain(`/shelf/demo: working directory of bash (process ${holder.pid})`);
    expect(await isMounted(world.mountpoint)).toBe(true);
    await stop(holder);
    await world.ok(`cd $MNT && exec ${process.execPath} ${world.executable} unmount $MNT`);
  });

  test('A file that is being written keeps the mount, and is said to be.', async () => {
    await world.mount();
    const holder = await hold('exec 3> $MNT/shelf/demo/new:1.0.simg; echo part >&3');
    const { code, stderr } = await world.sregistry('unmount', world.mountpoint);
    expect(code).toBe(1);
    expect(stderr).toContain('/shelf/demo/new:1.0.simg (being written): open in bash');
    expect(await world.ok(world.sregistry('status'))).toContain('writing   /shelf/demo/new:1.0.simg');
    await stop(holder);
  });

  test('A file that was closed a moment ago is not in use.', async () => {
    for (let round = 0; round < 5; round += 1) {
      await world.mount();
      const script = `head -c 100 ${IMAGE} > /dev/null; exec ${process.execPath} ${world.executable} unmount $MNT`;
      await world.ok(script);
      expect(await isMounted(world.mountpoint)).toBe(false);
    }
  });

  test('`sregistry unmount --force` unmounts what is in use, and says what it cut off.', async () => {
    await world.mount();
    const { pid } = await world.mounted();
    const holder = await hold(`exec 3< ${IMAGE}`);
    const { cut } = JSON.parse(await world.unmount('--force', '--json'));
    const use = { how: 'open', by: { pid: holder.pid, command: 'bash' } };
    expect(cut).toEqual({
      files: [{ path: '/shelf/demo/small:1.0.simg', writing: false, uses: [use] }],
      pushes: [],
    });
    expect(await isMounted(world.mountpoint)).toBe(false);
    expect(processStartTime(pid)).toBeUndefined();
    expect(await world.mountLog()).toContain('cut off /shelf/demo/small:1.0.simg: open in bash');
  });

  test('A signal cuts off the users of the mount, and the log names them.', async () => {
    await world.mount();
    const { pid } = await world.mounted();
    const startTime = processStartTime(pid) ?? '';
    const holder = await hold(`exec 3< ${IMAGE}`);
    process.kill(pid, 'SIGTERM');
    await eventually(() => expect(isAlive({ pid, startTime })).toBe(false));
    expect(await isMounted(world.mountpoint)).toBe(false);
    expect(await world.mountLog()).toContain(`open in bash (process ${holder.pid})`);
  });

  test('a mount unmounted lazily from outside serves its open files until they are closed', async () => {
    await world.mount();
    const { pid } = await world.mounted();
    const holder = await hold(`exec 3< ${IMAGE}; read; cat <&3 > copied`);
    await world.ok('fusermount3 -uz $MNT');
    await eventually(async () => expect(await world.mountLog()).toContain('unmounted from outside'));
    holder.stdin?.write('\n');
    await eventually(() => world.ok(`cmp ${SMALL} copied`));
    await stop(holder);
    await eventually(() => expect(processStartTime(pid)).toBeUndefined());
  });

  test('a process that does not answer is told, and ended by force', async () => {
    await world.mount();
    const { pid } = await world.mounted();
    const startTime = processStartTime(pid) ?? '';
    process.kill(pid, 'SIGSTOP');
    onTestFinished(() => {
      if (isAlive({ pid, startTime })) process.kill(pid, 'SIGKILL');
    });
    const { code, stderr } = await world.sregistry('unmount', world.mountpoint);
    expect(code).toBe(1);
    expect(stderr).toContain('--force');
    expect(await isMounted(world.mountpoint)).toBe(true);
    await world.unmount('--force');
    expect(isAlive({ pid, startTime })).toBe(false);
    expect(await isMounted(world.mountpoint)).toBe(false);
  });

  test('unmounting by force ends no process but that of the mount', async () => {
    const innocent = await hold('');
    await plant({ pid: innocent.pid });
    await world.sregistry('unmount', world.mountpoint, '--force');
    expect(processStartTime(innocent.pid as number)).toBeDefined();
  });

  test('a mount in the foreground has the limits of one in the background, and its pid', async () => {
    const mount = spawn(process.execPath, [world.executable, 'mount', world.mountpoint, '--foreground'], {
      env: world.env,
      stdio: 'ignore',
    });
    onTestFinished(() => void mount.kill('SIGKILL'));
    await eventually(async () => expect((await world.mounted()).pid).toBe(mount.pid));
    const proc = (file: string) => readFile(`/proc/${mount.pid}/${file}`, 'utf8');
    expect(await proc('cmdline')).toContain('--max-semi-space-size=');
    expect(await proc('environ')).toContain('MALLOC_ARENA_MAX=');
    mount.kill('SIGTERM');
    expect((await once(mount, 'exit'))[0]).toBe(0);
  });

  test('a mount that cannot clear all away ends all the same, and fails', async () => {
    const mount = spawn(process.execPath, [world.executable, 'mount', world.mountpoint, '--foreground'], {
      env: world.env,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    onTestFinished(() => void mount.kill('SIGKILL'));
    let said = '';
    mount.stderr.on('data', (text) => {
      said += text;
    });
    const record = recordPath(join(world.home, 'sregistry'), world.mountpoint);
    await eventually(() => stat(record));
    await rm(record);
    await mkdir(record);
    mount.kill('SIGTERM');
    const [code] = await once(mount, 'exit');
    expect(said).toContain('could not remove the record');
    expect(said).toContain(`ended ${world.mountpoint}`);
    expect(code).toBe(1);
    expect(await isMounted(world.mountpoint)).toBe(false);
  });

  test('the log is closed to others, also where it is there already', async () => {
    const folder = join(world.home, '.local/state/sregistry');
    const log = world.logPath;
    await mkdir(folder, { recursive: true });
    await writeFile(log, 'what was said before\n');
    await chmod(folder, 0o755);
    await chmod(log, 0o644);
    await world.mount();
    expect((await stat(folder)).mode & 0o777).toBe(0o700);
    expect((await stat(log)).mode & 0o777).toBe(0o600);
    expect(await readFile(log, 'utf8')).toMatch(/^what was said before\n.*mounted/);
  });

  test('a log that is a link is not written to', async () => {
    const folder = join(world.home, '.local/state/sregistry');
    const target = join(world.home, 'precious');
    await mkdir(folder, { recursive: true });
    await writeFile(target, 'mine\n');
    await symlink(target, world.logPath);
    const { code, stderr } = await world.sregistry('mount', world.mountpoint);
    expect(code).toBe(1);
    expect(stderr).toContain('is not a file of yours');
    expect(await readFile(target, 'utf8')).toBe('mine\n');
    expect(await isMounted(world.mountpoint)).toBe(false);
  });

  needs({ root: true })('on a machine of several users', () => {
    test('a record that somebody else planted ends no process of ours', async () => {
      await world.mount();
      const { pid } = await world.mounted();
      await plant({ pid, mountpoint: '/mnt/other' });
      await chown(join(world.home, 'sregistry'), 12345, 12345);
      const { stderr } = await world.sregistry('unmount', '/mnt/other', '--force');
      expect(stderr).toContain('is not a directory of yours');
      expect(processStartTime(pid)).toBeDefined();
      await chown(join(world.home, 'sregistry'), 0, 0);
    });

    test('A container that has a file of the mount open keeps it, also from a mount namespace of its own.', async () => {
      await world.mount();
      const holder = await hold(`exec unshare -m bash -c 'exec 3< ${IMAGE}; echo; read'`);
      const { code, stderr } = await world.sregistry('unmount', world.mountpoint);
      expect(code).toBe(1);
      expect(stderr).toContain(`/shelf/demo/small:1.0.simg: open in bash (process ${holder.pid})`);
      await world.ok(`cmp ${SMALL} ${IMAGE}`);
      await stop(holder);
      await world.unmount();
    });
  });

  needs({ root: true })('with what only root can mount', () => {
    test('a part of the mount that is mounted elsewhere is use of it', async () => {
      await world.mount();
      await world.ok('mkdir elsewhere && ls $MNT/shelf && mount --bind $MNT/shelf elsewhere');
      const { code, stderr } = await world.sregistry('unmount', world.mountpoint);
      await world.ok('umount elsewhere');
      expect(code).toBe(1);
      expect(stderr).toContain(`/shelf: mounted at ${world.home}/elsewhere`);
      await world.unmount();
    });
  });

  test('Unmounting waits for pushes under way.', async () => {
    const push = await holdPush(world, () => world.mount());
    const { pid } = await world.mounted();
    const unmount = await startUnmount();
    expect(await world.mounted()).toMatchObject({ pid, pushing: 1 });
    push.release();
    expect(await unmount.ended).toEqual([0, null]);
    expect((await push.copy).code).toBe(0);
    expect((await world.status()).pushes).toEqual([]);
    expect(processStartTime(pid)).toBeUndefined();
  });

  test('an unmount that is interrupted while it waits leaves the mount as it was', async () => {
    const push = await holdPush(world, () => world.mount());
    const { pid } = await world.mounted();
    const unmount = await startUnmount();
    unmount.process.kill('SIGINT');
    expect(await unmount.ended).toEqual([130, null]);
    push.release();
    expect((await push.copy).code).toBe(0);
    expect(await world.mounted()).toMatchObject({ pid, pushing: 0 });
  });

  test('A push that is cut off stays in the journal and continues at the next mount.', async () => {
    const push = await holdPush(world, () => world.mount());
    const { cut } = JSON.parse(await world.unmount('--force', '--json'));
    expect(cut.pushes).toEqual(['lab://demo/new:1.0']);
    expect((await push.copy).code).not.toBe(0);
    expect((await world.status()).pushes).toMatchObject([{ uri: 'lab://demo/new:1.0', state: 'kept' }]);
    push.release();
    await world.mount();
    await eventually(async () => expect((await world.status()).pushes).toEqual([]));
    await eventually(() => world.ok(`cmp ${SMALL} $MNT/lab/demo/new:1.0.simg`));
  });

  test('SIGTERM waits for pushes up to 60 seconds.', async () => {
    const push = await holdPush(world, () => world.mount());
    const { pid } = await world.mounted();
    process.kill(pid, 'SIGTERM');
    await eventually(async () => expect(await world.mountLog()).toContain('told to end'));
    expect(await world.mounted()).toMatchObject({ pid, pushing: 1 });
    push.release();
    expect((await push.copy).code).toBe(0);
    await eventually(() => expect(processStartTime(pid)).toBeUndefined());
    expect((await world.status()).pushes).toEqual([]);
    expect(await isMounted(world.mountpoint)).toBe(false);
  });
});

/** `sregistry unmount`, once it has asked the mount. */
async function startUnmount() {
  const unmount = spawn(process.execPath, [world.executable, 'unmount', world.mountpoint], {
    env: world.env,
    stdio: 'ignore',
  });
  const ended = once(unmount, 'exit');
  const descriptors = `/proc/${unmount.pid}/fd`;
  await eventually(async () => {
    const names = await readdir(descriptors);
    const targets = await Promise.all(names.map((name) => readlink(join(descriptors, name)).catch(() => '')));
    expect(targets.some((target) => target.startsWith('socket:'))).toBe(true);
  });
  return { process: unmount, ended };
}

/** A shell that does this and stays, until `stop` or the end of the test. */
async function hold(script: string): Promise<ChildProcess> {
  const holder = spawn('bash', ['-c', `${script}\necho; read`], {
    env: world.env,
    cwd: world.home,
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  onTestFinished(() => stop(holder));
  // `read` is bash's own: no other process has what this one has.
  if (script.includes('read; '))
    await eventually(async () => expect(await world.mounted()).toMatchObject({ openFiles: 1 }));
  else await once(holder.stdout, 'data');
  return holder;
}

async function stop(process: ChildProcess): Promise<void> {
  if (process.exitCode !== null || process.signalCode !== null) return;
  const ended = once(process, 'exit');
  process.kill('SIGKILL');
  await ended;
}

/** A record of a mount that there is not, by a process that there is. */
async function plant({ pid = 0, mountpoint = world.mountpoint }): Promise<void> {
  const folder = join(world.home, 'sregistry');
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const record = { pid, startTime: processStartTime(pid), mountpoint, log: '', since: 1 };
  await writeFile(recordPath(folder, mountpoint), JSON.stringify({ ...record, socket: '/nonexistent' }));
}
