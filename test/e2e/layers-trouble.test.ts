/** Containers in layers on real mounts, whose processes are killed, whose registry is slow or gone, and whose tags move. */
import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { needs } from '../helpers/skip.ts';
import { startRegistry, type TestRegistry } from '../servers/docker-registry.ts';
import { type FaultProxy, startFaultProxy } from '../servers/fault-proxy.ts';
import { digestOf, type Layer, layerOf, pushLayered, tarOf } from '../servers/layered.ts';
import { eventually, World } from './support.ts';

const MIB = 1024 * 1024;
const IMAGE = 'lab/demo/app:1.simg';

const layer = (path: string, data: Buffer | string) => layerOf(tarOf([{ path, data }]));
const large = (path: string) => layer(path, randomBytes(4 * MIB));

needs({ fuse: true, registry: true })('a container in layers', () => {
  let world: World;
  let registry: TestRegistry;
  let proxy: FaultProxy;
  /** Lets the rest of held layers through. */
  let go: () => void;

  beforeEach(async () => {
    world = await World.create();
    registry = await startRegistry();
    proxy = await startFaultProxy(registry.url);
    await world.ok(world.sregistry('backend', 'add', 'lab', '--driver', 'oci', `base=${proxy.url}`));
  });
  afterEach(async () => {
    go?.();
    await world.end();
    await proxy.close();
    await registry.remove();
  });

  const push = (tag: string, layers: readonly Layer[]) => pushLayered(registry.url, 'demo/app', tag, layers);
  const asked = (wanted: Layer) =>
    proxy.requests.filter(({ url }) => url.includes(digestOf(wanted.blob))).length;
  /**
   * The next request for a layer gets its first bytes, then a byte now and then (so that it is slow, and not stalled), and the rest
   * after `go`. Resolves when the first bytes were sent.
   */
  const hold = (wanted: Layer): Promise<void> => {
    const reached = Promise.withResolvers<void>();
    let isHeld = true;
    go = () => {
      isHeld = false;
    };
    proxy.inject(
      (_request, _response, forward) =>
        forward({
          download: async function* (body, response) {
            for await (const chunk of body) {
              let at = 0;
              for (; isHeld && at < chunk.length && !response.destroyed; at++) {
                yield chunk.subarray(at, at + 1);
                if (at >= 1000) await setTimeout(200);
                if (at === 1000) reached.resolve();
              }
              yield chunk.subarray(at);
            }
          },
        }),
      { match: ({ url }) => url?.includes(digestOf(wanted.blob)) ?? false },
    );
    return reached.promise;
  };
  const incoming = () => readdirSync(join(world.cache, 'incoming'));
  const bytesOf = (path: string) => world.ok(`cat ${path} | sha256sum`);

  test('is read to its end however often the kernel was told the estimate while it was opened', async () => {
    // Grows much more than the estimate says.
    const slow = layer('a', Buffer.alloc(16 * MIB, randomBytes(20_000)));
    await push('1', [slow, layer('b', 'b')]);
    await world.mount();
    const held = hold(slow);
    const reading = world.ok(`cat $MNT/${IMAGE} | wc -c`);
    await held;
    const estimates = await world.ok(
      `for i in $(seq 12); do stat -c %s $MNT/${IMAGE}; sleep 0.1; done | sort -u`,
    );
    const [transfer] = (await world.mounted()).transfers;
    expect(transfer).toMatchObject({ uri: 'demo/app:1, layer 1 of 2', size: slow.blob.length });
    go();
    const looking = world.ok(`for i in $(seq 40); do stat -c %s $MNT/${IMAGE}; sleep 0.05; done > /dev/null`);
    const size = Number(await reading);
    await looking;
    expect(Number(estimates)).toBeLessThan(size);
    expect(Number(await world.ok(`cat $MNT/${IMAGE} | wc -c`))).toBe(size);
    expect(Number(await world.ok(`sleep 1.2; stat -c %s $MNT/${IMAGE}`))).toBe(size);
  });

  test('whose mount is killed in the middle of a fetch is fetched by the other mount, and by the next one', async () => {
    const [base, top] = [large('a'), layer('b', 'top')];
    await push('1', [base, top]);
    const other = `${world.home}/other`;
    mkdirSync(other);
    await world.mount();
    await world.ok(world.sregistry('mount', other));
    const { pid } = (await world.status()).mounts.find(
      ({ mountpoint }) => mountpoint === world.mountpoint,
    ) as {
      pid: number;
    };
    const held = hold(base);
    const killed = world.shell(`cat $MNT/${IMAGE}`);
    await held;
    const waiting = bytesOf(`${other}/${IMAGE}`);
    process.kill(pid, 'SIGKILL');
    expect((await killed).code).not.toBe(0);
    const bytes = await waiting;
    await world.ok(world.sregistry('unmount', other));
    await world.shell('fusermount3 -uz $MNT || fusermount -uz $MNT');
    await world.mount();
    expect(await bytesOf(`$MNT/${IMAGE}`)).toBe(bytes);
    await eventually(() => expect(incoming()).toEqual([]));
    expect(asked(base)).toBe(2);
  });

  test('is fetched once by two mounts of one cache that open it at a time', async () => {
    const [base, top] = [large('a'), layer('b', 'top')];
    await push('1', [base, top]);
    const other = `${world.home}/other`;
    mkdirSync(other);
    await world.mount();
    await world.ok(world.sregistry('mount', other));
    const [one, two] = await Promise.all([bytesOf(`$MNT/${IMAGE}`), bytesOf(`${other}/${IMAGE}`)]);
    expect(one).toBe(two);
    expect([asked(base), asked(top)]).toEqual([1, 1]);
    await world.ok(world.sregistry('unmount', other));
  });

  test('stays as it was opened while its tag moves and its layers are to be evicted', async () => {
    const [base, one, two] = [large('a'), layer('b', 'one'), layer('b', 'two')];
    await push('1', [base, one]);
    await world.mount('--cache-size', '12M', '--cache-min-free', '0');
    const script = `
      exec 3< $MNT/${IMAGE}
      head -c 1000 <&3 > part
      echo opened; read -r _ < go
      cat part - <&3 | sha256sum`;
    await world.ok('mkfifo go');
    const before = await bytesOf(`$MNT/${IMAGE}`);
    const reading = world.shell(script);
    await eventually(async () => expect((await world.mounted()).mountpoint).toBe(world.mountpoint));
    await eventually(() => world.ok('test -s part'));
    await push('1', [base, two]);
    await push('2', [large('x'), layer('y', 'y')]);
    await push('3', [large('z')]);
    for (const tag of [2, 3]) await world.ok(`cat $MNT/lab/demo/app:${tag}.simg > /dev/null`);
    await world.ok('echo > go');
    expect((await reading).stdout).toBe(`opened\n${before}`);
    await world.ok(world.sregistry('unmount', world.mountpoint));
    await world.mount('--cache-size', '12M', '--cache-min-free', '0', '--ttl', '0');
    expect(await bytesOf(`$MNT/${IMAGE}`)).not.toBe(before);
  });

  test('whose layers are in the cache is opened without its registry', async () => {
    await push('1', [large('a'), layer('b', 'b')]);
    await world.mount();
    const bytes = await bytesOf(`$MNT/${IMAGE}`);
    await world.unmount();
    await registry.stop();
    await world.mount();
    expect(await bytesOf(`$MNT/${IMAGE}`)).toBe(bytes);
    const { mounts } = await world.status();
    expect(mounts[0]?.cache.bytes).toBeGreaterThan(4 * MIB);
  });

  test('that is being fetched does not keep its mount from ending by force', async () => {
    const slow = large('a');
    await push('1', [slow]);
    await world.mount();
    const held = hold(slow);
    const reading = world.shell(`cat $MNT/${IMAGE}`);
    await held;
    const started = performance.now();
    await world.unmount('--force');
    expect(performance.now() - started).toBeLessThan(20_000);
    expect((await reading).code).not.toBe(0);
    await eventually(() => expect(incoming()).toEqual([]));
    await world.mount();
    await bytesOf(`$MNT/${IMAGE}`);
  });
});
