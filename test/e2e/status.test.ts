/** What `sregistry status` tells of mounts that are not well. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, onTestFinished, test } from 'vitest';
import { needs } from '../helpers/skip.ts';
import { startFakeRegistry } from '../servers/fake-registry.ts';
import { startFaultProxy } from '../servers/fault-proxy.ts';
import { eventually, World } from './support.ts';

let world: World;

needs({ fuse: true })('the status', () => {
  beforeEach(async () => {
    world = await World.create();
  });
  afterEach(() => world.end());

  test('names a service that does not answer, since when and why, until it answers again', async () => {
    const registry = await startFakeRegistry();
    const proxy = await startFaultProxy(registry.url);
    onTestFinished(async () => {
      await proxy.close();
      await registry.close();
    });
    let isDown = true;
    proxy.inject((_, response, forward) => (isDown ? void response.writeHead(503).end() : forward()), {
      times: Number.POSITIVE_INFINITY,
    });
    world.env.SREGISTRY_TIMEOUT = '2';
    await world.ok(world.sregistry('backend', 'add', 'lab', '--driver', 'oci', `base=${proxy.url}`));
    await world.mount('--ttl', '1s');
    expect((await world.mounted()).unreachable).toEqual([]);
    const before = new Date().toISOString();
    await world.shell('stat $MNT/lab/demo/image:1.0.simg');
    const [failed] = (await world.mounted()).unreachable ?? [];
    expect(failed).toEqual({ backend: 'lab', since: expect.any(String), error: expect.any(String) });
    expect((failed?.since ?? '') >= before).toBe(true);
    expect(failed?.error).toContain('503');
    expect(await world.ok(world.sregistry('status'))).toMatch(/no answer lab, first \d+m?s ago: .*503/);
    isDown = false;
    await eventually(async () => {
      await world.shell('stat $MNT/lab/demo/image:1.0.simg');
      expect((await world.mounted()).unreachable).toEqual([]);
    });
  });

  test('names a mount whose process was killed, and how to clear it', async () => {
    await world.mount();
    const { pid } = await world.mounted();
    process.kill(pid, 'SIGKILL');
    await eventually(async () => {
      const { code, stderr } = await world.sregistry('status', world.mountpoint);
      expect(stderr).toContain(`The process of the mount at ${world.mountpoint} has ended`);
      expect(stderr).toContain(`sregistry unmount ${world.mountpoint}`);
      expect(code).toBe(1);
    });
    expect(await world.status()).toMatchObject({
      mounts: [],
      dead: expect.arrayContaining([world.mountpoint]),
    });
    await world.unmount();
    expect((await world.sregistry('status')).stderr).not.toContain(world.mountpoint);
  });

  test('says where the log of each mount is: two mounts have two, even if their folders have one name', async () => {
    const other = join(world.home, 'other/mnt');
    await world.mount();
    await world.ok(world.sregistry('mount', other));
    try {
      const { mounts } = await world.status();
      const logs = mounts.map(({ log = '' }) => log);
      expect(new Set(logs).size).toBe(2);
      for (const { mountpoint, log = '' } of mounts)
        expect(await readFile(log, 'utf8')).toContain(`mounted ${mountpoint} with local`);
      expect(await world.ok(world.sregistry('status'))).toContain(`log       ${logs[0]}`);
    } finally {
      await world.sregistry('unmount', other, '--force');
    }
  });
});
