/** A mount under a service manager: its units, what it tells systemd, its settings while it runs, its log. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { isMounted } from '../../src/fs/mountpoint.ts';
import { needs } from '../helpers/skip.ts';
import { holdPush } from './held-push.ts';
import { Notified } from './service-manager.ts';
import { eventually, fixture, World } from './support.ts';

const UNITS = join(import.meta.dirname, '../../packaging/systemd');

let world: World;
beforeEach(async () => {
  world = await World.create();
});
afterEach(() => world.end());

needs({ systemd: true })('the units', () => {
  test.each(['system', 'user'])('of %s are ones that systemd has nothing against', async (kind) => {
    const program = join(world.home, 'sregistry');
    await writeFile(program, '#!/bin/sh\n', { mode: 0o755 });
    const file = join(world.home, 'sregistry@.service');
    await cp(join(UNITS, kind, 'sregistry@.service'), file);
    const text = await readFile(file, 'utf8');
    expect(text).toContain('ExecStart=/usr/bin/sregistry mount');
    await writeFile(file, text.replace('/usr/bin/sregistry', program));
    const { stdout, stderr } = await promisify(execFile)('systemd-analyze', [`--${kind}`, 'verify', file], {
      env: world.env,
    });
    expect(`${stdout}${stderr}`).toBe('');
  });
});

needs({ fuse: true, systemd: true })('a mount that systemd starts', () => {
  /** Starts `sregistry mount --foreground`; what it wrote to stderr, and how it ends. */
  function serve(env: NodeJS.ProcessEnv, ...options: string[]) {
    const words = [world.executable, 'mount', '--foreground', ...options, world.mountpoint];
    const child: ChildProcess = spawn(process.execPath, words, {
      env: { ...world.env, ...env },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const served = { child, log: '', ended: once(child, 'exit') };
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      served.log += text;
    });
    onTestFinished(() => void child.kill('SIGKILL'));
    return served;
  }

  async function listen(address = join(world.home, 'notify')): Promise<Notified> {
    const notified = await Notified.listen(address);
    onTestFinished(() => notified.close());
    return notified;
  }

  test.each([
    ['a path', () => join(world.home, 'notify')],
    ['an abstract name', () => `@sregistry-test-${process.pid}`],
  ])('says at %s that it is ready when it answers, lives, and ends', async (_, address) => {
    const notified = await listen(address());
    const served = serve({ NOTIFY_SOCKET: address(), WATCHDOG_USEC: '1000000' });
    await eventually(() => expect(notified.with('READY')).toHaveLength(1));
    expect(await world.ok('ls $MNT')).toContain('local');
    expect(notified.with('READY')[0]?.STATUS).toContain(`at ${world.mountpoint}: 0 open files`);
    await eventually(() => expect(notified.with('WATCHDOG').length).toBeGreaterThan(1));
    served.child.kill('SIGTERM');
    expect(await served.ended).toEqual([0, null]);
    expect(notified.with('STOPPING')).toEqual([
      { STOPPING: '1', STATUS: expect.stringContaining('0 pushes') },
    ]);
    expect(await isMounted(world.mountpoint)).toBe(false);
  });

  test('gives no sign of life where the watchdog is for another process', async () => {
    const notified = await listen();
    const env = { NOTIFY_SOCKET: join(world.home, 'notify'), WATCHDOG_USEC: '400000', WATCHDOG_PID: '1' };
    const served = serve(env);
    await eventually(() => expect(notified.with('READY')).toHaveLength(1));
    served.child.kill('SIGTERM');
    await served.ended;
    expect(notified.with('WATCHDOG')).toEqual([]);
  });

  test('reads its settings anew at SIGHUP, and says when', async () => {
    const notified = await listen();
    const served = serve({ NOTIFY_SOCKET: join(world.home, 'notify') });
    await eventually(() => expect(notified.with('READY')).toHaveLength(1));
    const before = process.hrtime.bigint() / 1000n;
    served.child.kill('SIGHUP');
    await eventually(() => expect(notified.with('READY')).toHaveLength(2));
    const [reloading] = notified.with('RELOADING');
    expect(BigInt(reloading?.MONOTONIC_USEC ?? 0)).toBeGreaterThanOrEqual(before);
    expect(notified.messages.indexOf(reloading ?? {})).toBeLessThan(
      notified.messages.findLastIndex((each) => 'READY' in each),
    );
    expect(served.log).toContain('settings were reloaded: local');
  });

  test('shows a backend that is added, changed or removed meanwhile, without SIGHUP', async () => {
    for (const [name, image] of [
      ['one', 'a'],
      ['two', 'b'],
    ] as const) {
      await mkdir(join(world.home, name, 'demo'), { recursive: true });
      await cp(fixture('small-gzip.sif'), join(world.home, name, `demo/${image}:1.0.sif`));
    }
    const served = serve({});
    await eventually(() => world.ok('ls $MNT/local'));
    const add = (base: string) =>
      world.ok(world.sregistry('backend', 'add', '--force', 'shelf', '--driver', 'dir', `base=${base}`));
    await add(join(world.home, 'one'));
    await eventually(async () => expect(await world.ok('ls $MNT/shelf/demo')).toBe('a:1.0.sif\n'));
    await add(join(world.home, 'two'));
    await eventually(async () => expect(await world.ok('ls $MNT/shelf/demo')).toBe('b:1.0.sif\n'));
    await world.ok(`cmp ${fixture('small-gzip.sif')} $MNT/shelf/demo/b:1.0.sif`);
    await writeFile(join(world.home, '.sregistry'), '{ "shelf": ');
    await eventually(() => expect(served.log).toContain('settings were not reloaded'));
    expect(await world.ok('ls $MNT/shelf/demo')).toBe('b:1.0.sif\n');
    await writeFile(join(world.home, '.sregistry'), '{}');
    await eventually(async () => expect(await world.ok('ls $MNT')).toBe('local\n'));
    expect(served.log).toContain('changed by the settings: shelf');
  });

  test('waits at SIGTERM for a push, and says so', async () => {
    const notified = await listen();
    let served: ReturnType<typeof serve> | undefined;
    const push = await holdPush(world, async () => {
      served = serve({ NOTIFY_SOCKET: join(world.home, 'notify') }, '--push-wait', '5m');
      await eventually(() => expect(notified.with('READY')).toHaveLength(1));
    });
    served?.child.kill('SIGTERM');
    await eventually(() => expect(notified.with('STOPPING')[0]?.STATUS).toContain('waiting for 1 push'));
    expect(served?.log).toContain('waiting up to 300 seconds');
    expect(served?.log).toContain('waiting for the push of lab://demo/new:1.0');
    expect(served?.child.exitCode).toBeNull();
    push.release();
    expect((await push.copy).code).toBe(0);
    expect(await served?.ended).toEqual([0, null]);
    expect((await world.status()).pushes).toEqual([]);
  });

  test('writes lines for programs, or with priorities for the journal', async () => {
    for (const format of ['json', 'journal']) {
      const served = serve({}, '--log-format', format);
      await eventually(() => expect(served.log).toContain('mounted'));
      served.child.kill('SIGTERM');
      await served.ended;
      const lines = served.log.trim().split('\n');
      for (const line of lines) {
        if (format === 'json')
          expect(JSON.parse(line)).toEqual({
            time: expect.any(String),
            level: 'info',
            message: expect.any(String),
          });
        else expect(line).toMatch(/^<6>\S/);
      }
    }
  });
});

describe('The format of the log', () => {
  test('is refused where it is none', async () => {
    const { code, stderr } = await world.sregistry('mount', world.mountpoint, '-o', 'log_format=xml');
    expect(code).toBe(2);
    expect(stderr).toContain('The formats are text, json, journal');
  });
});
