import { expect, onTestFinished } from 'vitest';
import { startFakeRegistry } from '../servers/fake-registry.ts';
import { startFaultProxy } from '../servers/fault-proxy.ts';
import { eventually, fixture, type Outcome, type World } from './support.ts';

export interface HeldPush {
  /** The `cp` that pushes `lab://demo/new:1.0`. */
  readonly copy: Promise<Outcome>;
  /** Lets the registry answer. */
  release(): void;
}

/** Mounts a registry `lab` as `mount` does, and copies an image in, whose manifest the registry does not take yet. */
export async function holdPush(world: World, mount: () => Promise<unknown>): Promise<HeldPush> {
  const registry = await startFakeRegistry();
  const proxy = await startFaultProxy(registry.url);
  const gate = Promise.withResolvers<void>();
  onTestFinished(async () => {
    gate.resolve();
    await proxy.close();
    await registry.close();
  });
  proxy.inject((_, __, forward) => void gate.promise.then(() => forward()), {
    match: ({ method, url = '' }) => method === 'PUT' && url.includes('/manifests/'),
    times: Number.POSITIVE_INFINITY,
  });
  await world.ok(world.sregistry('backend', 'add', 'lab', '--driver', 'oci', `base=${proxy.url}`));
  await mount();
  const copy = world.shell(`cp ${fixture('small-gzip.sif')} $MNT/lab/demo/new:1.0.simg`);
  const isHeld = () =>
    proxy.requests.some(({ method, url }) => method === 'PUT' && url.includes('/manifests/'));
  await eventually(() => expect(isHeld()).toBe(true));
  return { copy, release: () => gate.resolve() };
}
