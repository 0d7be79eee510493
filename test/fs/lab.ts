/** The backend `lab`, a directory of its own for each test, and mounts of it whose pushes a test can hold back or let fail. */
import { once } from 'node:events';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach } from 'vitest';
import { SregistryError } from '../../src/base/errors.ts';
import { publish } from '../../src/client/publish.ts';
import type { Session } from '../../src/client/session.ts';
import type { Publisher, PushRequest } from '../../src/fs/publisher.ts';
import { Kernel } from './kernel.ts';
import { image, openWorld, temporaryFolder, type WorldOptions } from './support.ts';

/** Two different images. */
export const small = await image('small-gzip.sif');
export const other = await image('small-zstd.sif');

/** Makes the directory before each test. */
export function useLab() {
  let base: string;
  const folder = () => join(base, 'demo');
  beforeEach(async () => {
    base = await temporaryFolder();
    await mkdir(folder());
  });
  return {
    /** The directory of the collection `demo`. */
    folder,
    /** A mount with the backend, and a kernel that calls it. */
    open: async (options: WorldOptions = {}) => {
      const world = await openWorld({ lab: { driver: 'dir', base } }, options);
      return { ...world, kernel: new Kernel(world.filesystem) };
    },
    /** The bytes of a file of `demo`; undefined if it does not exist. */
    stored: (name: string) => readFile(join(folder(), name)).catch(() => undefined),
  };
}

/** Pushes that wait until the gate opens, and are counted. A canceled one does not wait. */
export function gated() {
  const pushes: PushRequest[] = [];
  const gate = Promise.withResolvers<void>();
  const started = Promise.withResolvers<void>();
  const publisher = (session: Session): Partial<Publisher> => ({
    push: async (request) => {
      pushes.push(request);
      started.resolve();
      const canceled = once(request.signal, 'abort').then(() => request.signal.throwIfAborted());
      await Promise.race([gate.promise, canceled]);
      return publish(session, request);
    },
  });
  return { pushes, publisher, started: started.promise, open: () => gate.resolve() };
}

export const unreachable = new SregistryError('UNREACHABLE', 'The registry is away');

/** Pushes that fail: those to `tag`, or all of them. */
export function failing(tag?: string) {
  return (session: Session): Partial<Publisher> => ({
    push: async (request) => {
      if (tag === undefined || request.name.tag === tag) throw unreachable;
      return publish(session, request);
    },
  });
}
