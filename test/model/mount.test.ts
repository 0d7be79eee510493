/** A real mount of a real registry against the model: random sequences through the kernel. */
import { constants } from 'node:fs';
import { type FileHandle, open, rename, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { expect, onTestFinished, test } from 'vitest';
import { openState, type State } from '../../src/catalog/state.ts';
import { askMount } from '../../src/fs/control.ts';
import { listMounts } from '../../src/fs/mount-record.ts';
import { type ImagePath, parsePath } from '../../src/fs/tree.ts';
import { eventually, World } from '../e2e/support.ts';
import { openWorld } from '../fs/support.ts';
import { needs } from '../helpers/skip.ts';
import { startRegistry, type TestRegistry } from '../servers/docker-registry.ts';
import { commands, type Subject } from './commands.ts';
import { imageOf } from './content.ts';
import { Model } from './model.ts';

const { O_CREAT, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } = constants;
const FLAGS = { read: O_RDONLY, update: O_RDWR, replace: O_WRONLY | O_CREAT | O_TRUNC } as const;

/** Sequences; more by hand: MODEL_MOUNT_RUNS=300 npx vitest run test/model/mount.test.ts */
const RUNS = Number(process.env.MODEL_MOUNT_RUNS ?? 15);
/** Milliseconds after which the kernel asks again for what it was told. */
const KERNEL_MEMORY = 1_200;

type Push = (path: string, bytes: Buffer) => Promise<void>;

class RealMount implements Subject<FileHandle> {
  readonly #world: World;
  readonly #registry: TestRegistry;
  readonly #state: State;
  readonly #push: Push;
  readonly #handles = new Set<FileHandle>();

  constructor(world: World, registry: TestRegistry, state: State, push: Push) {
    this.#world = world;
    this.#registry = registry;
    this.#state = state;
    this.#push = push;
  }

  async open(path: string, how: keyof typeof FLAGS): Promise<FileHandle> {
    const handle = await open(this.#at(path), FLAGS[how]);
    this.#handles.add(handle);
    return handle;
  }

  async write(handle: FileHandle, bytes: Buffer, at: number): Promise<void> {
    await handle.write(bytes, 0, bytes.length, at);
  }

  async truncate(handle: FileHandle, size: number): Promise<void> {
    await handle.truncate(size);
  }

  async flush(): Promise<void> {
    throw new Error('Node cannot duplicate a descriptor');
  }

  /** The kernel releases a file after close() has returned. */
  async close(handle: FileHandle): Promise<void> {
    this.#handles.delete(handle);
    try {
      await handle.close();
    } finally {
      await this.#released();
    }
  }

  async readAll(handle: FileHandle): Promise<Buffer> {
    const parts: Buffer[] = [];
    for (let offset = 0; ; ) {
      const { bytesRead, buffer } = await handle.read(Buffer.alloc(65_536), 0, 65_536, offset);
      if (bytesRead === 0) return Buffer.concat(parts);
      parts.push(buffer.subarray(0, bytesRead));
      offset += bytesRead;
    }
  }

  unlink = (path: string) => unlink(this.#at(path));
  rename = (from: string, to: string) => rename(this.#at(from), this.#at(to));

  async moveTag(path: string, bytes: Buffer): Promise<void> {
    await this.#push(path, bytes);
    await sleep(KERNEL_MEMORY);
    await this.#forget();
  }

  async setAway(isAway: boolean): Promise<void> {
    if (isAway) await this.#registry.stop();
    else await this.#registry.restart();
    await this.#forget();
  }

  async crash(): Promise<void> {
    const { pid } = await this.#record();
    process.kill(pid, 'SIGKILL');
    await Promise.all([...this.#handles].map((handle) => handle.close().catch(() => {})));
    this.#handles.clear();
    await this.#world.mount('--allow-delete', '--ttl', '0s');
    await eventually(async () => expect((await this.#status()).pushing).toBe(0));
  }

  async recorded(): Promise<number> {
    return this.#state.journal.list().filter(({ state }) => state !== 'refused').length;
  }

  async end(): Promise<void> {
    await Promise.all([...this.#handles].map((handle) => this.close(handle).catch(() => {})));
  }

  get #runtimeDir(): string {
    return join(this.#world.home, 'sregistry');
  }

  #at(path: string): string {
    return join(this.#world.mountpoint, path);
  }

  async #record() {
    const [record] = await listMounts(this.#runtimeDir);
    if (record === undefined) throw new Error(`nothing is mounted\n${await this.#world.mountLog()}`);
    return record;
  }

  async #status() {
    return askMount(this.#runtimeDir, this.#world.mountpoint, 'status', {}, 10_000);
  }

  async #forget(): Promise<void> {
    await askMount(this.#runtimeDir, this.#world.mountpoint, 'forget', {}, 10_000);
  }

  #released(): Promise<unknown> {
    return eventually(async () => expect((await this.#status()).openFiles).toBe(this.#handles.size));
  }
}

/** Pushes as another client does: with settings, catalog and cache of its own. */
async function otherClient(registry: TestRegistry, folder: string): Promise<Push> {
  const { session } = await openWorld({ lab: { driver: 'oci', base: registry.url } });
  const backend = await session.backend('lab');
  return async (path, bytes) => {
    const file = join(folder, 'other.simg');
    await writeFile(file, bytes);
    await backend.push?.({ path: file, size: bytes.length }, (parsePath(path) as ImagePath).name);
  };
}

needs({ fuse: true, registry: true })('a mount', () => {
  test('does what the model does, whatever happens', async () => {
    const world = await World.create();
    const registry = await startRegistry();
    onTestFinished(async () => {
      await world.end();
      await registry.remove();
    });
    await world.ok(world.sregistry('backend', 'add', 'lab', '--driver', 'oci', `base=${registry.url}`));
    await world.mount('--allow-delete', '--ttl', '0s');
    const state = openState(world.cache);
    onTestFinished(() => state.close());
    const push = await otherClient(registry, world.home);
    let round = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.commands(
          commands<FileHandle>({ paths: pathsOf('c'), images: pathsOf('c').slice(0, 2), duplicates: false }),
          { size: '+1', maxCommands: 25 },
        ),
        async (sequence) => {
          round += 1;
          await push('/lab/c/a:1.simg', imageOf(round % 4));
          const subject = new RealMount(world, registry, state, push);
          const model = new Model(true);
          try {
            await subject.moveTag('/lab/c/a:1.simg', imageOf(0));
            model.tags.set('lab://c/a:1', imageOf(0));
            const real = { subject, handles: new Map(), paths: pathsOf('c') };
            await fc.asyncModelRun(() => ({ model, real }), sequence);
          } finally {
            await subject.setAway(false);
            await subject.end();
            const names = pathsOf('c')
              .map((path) => `$MNT${path}`)
              .join(' ');
            await eventually(() =>
              world.ok(`rm -f ${names}; for f in ${names}; do [ ! -e $f ] || exit 1; done`),
            );
            for (const { id } of state.journal.list()) state.journal.remove(id);
            await world.ok('rm -rf .cache/sregistry/staging');
          }
        },
      ),
      { numRuns: RUNS, ...(process.env.MODEL_SEED ? { seed: Number(process.env.MODEL_SEED) } : {}) },
    );
    expect(round).toBeGreaterThan(0);
  }, 3_600_000);
});

function pathsOf(collection: string): string[] {
  return ['a:1.simg', 'b:1.simg', '.x.tmp'].map((name) => `/lab/${collection}/${name}`);
}
