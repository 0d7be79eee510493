/** The filesystem against the model, in-process: random sequences, thousands of them. */
import { constants } from 'node:fs';
import { constants as os } from 'node:os';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { adoptPublished } from '../../src/client/publish.ts';
import type { Session } from '../../src/client/session.ts';
import { errnoOf } from '../../src/fs/errno.ts';
import { Filesystem } from '../../src/fs/filesystem.ts';
import type { Publisher } from '../../src/fs/publisher.ts';
import { Staging } from '../../src/fs/staging.ts';
import { type ImagePath, parsePath } from '../../src/fs/tree.ts';
import type { ImageName } from '../../src/image/name.ts';
import { Kernel } from '../fs/kernel.ts';
import { openWorld } from '../fs/support.ts';
import { commands, type Subject } from './commands.ts';
import { Model } from './model.ts';
import { MemoryRegistry } from './registry.ts';

const { O_CREAT, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } = constants;
const FLAGS = { read: O_RDONLY, update: O_RDWR, replace: O_WRONLY | O_CREAT | O_TRUNC } as const;
const NAMES = Object.fromEntries(Object.entries(os.errno).map(([name, value]) => [value, name]));

/** Sequences; more by hand: MODEL_RUNS=20000 npx vitest run test/model */
const RUNS = Number(process.env.MODEL_RUNS ?? 700);

class InProcess implements Subject<number> {
  readonly #session: Session;
  readonly #registry: MemoryRegistry;
  readonly #allowDelete: boolean;
  #staging!: Staging;
  #kernel!: Kernel;
  readonly #paths: readonly string[];

  constructor(session: Session, registry: MemoryRegistry, allowDelete: boolean, paths: readonly string[]) {
    this.#session = session;
    this.#registry = registry;
    this.#allowDelete = allowDelete;
    this.#paths = paths;
    this.#mount();
  }

  #mount(): void {
    const { state, stagingFolder } = this.#session;
    this.#staging = new Staging({
      folder: stagingFolder,
      journal: state.journal,
      publisher: this.#publisher(),
    });
    const filesystem = new Filesystem(this.#session, this.#staging, {
      readOnly: false,
      allowDelete: this.#allowDelete,
      noOverwrite: false,
      deadline: 20_000,
    });
    this.#kernel = new Kernel(filesystem);
  }

  #publisher(): Publisher {
    const session = this.#session;
    return {
      uri: (backend, name) => session.uri(backend, name),
      push: async ({ backend, name, file, size }) => {
        const service = await session.backend(backend);
        const image = await service.push?.({ path: file, size }, name);
        if (image === undefined) throw new Error('not pushed');
        session.metadata.noteChange(service, name, image);
        return image;
      },
      settle: (backend, image, file) => adoptPublished(session, backend, image, file),
      makeRoom: async () => true,
    };
  }

  open = (path: string, how: keyof typeof FLAGS) => named(this.#kernel.open(path, FLAGS[how]));
  flush = (handle: number) => named(this.#kernel.filesystem.flush(handle));
  close = (handle: number) => named(this.#kernel.close(handle));
  readAll = (handle: number) => named(this.#kernel.readAll(handle));
  rename = (from: string, to: string) => named(this.#kernel.rename(from, to));
  truncate = (handle: number, size: number) => named(this.#kernel.filesystem.ftruncate(handle, size));

  async write(handle: number, bytes: Buffer, at: number): Promise<void> {
    await named(this.#kernel.filesystem.write(handle, bytes, at, bytes.length));
  }

  async unlink(path: string): Promise<void> {
    await named(this.#kernel.unlink(path));
    await this.#kernel.filesystem.idle();
  }

  async moveTag(path: string, bytes: Buffer): Promise<void> {
    this.#registry.put((parsePath(path) as ImagePath).name, bytes);
    this.#session.metadata.forget(await this.#session.backend('lab'));
  }

  async setAway(isAway: boolean): Promise<void> {
    this.#registry.isAway = isAway;
    this.#session.metadata.forget(await this.#session.backend('lab'));
  }

  async crash(): Promise<void> {
    // What a killed process leaves: neither flushed nor released. Only the descriptors are closed, as this one goes on.
    await Promise.all(this.#paths.map((path) => this.#staging.find(path)?.close()));
    this.#mount();
    await this.#staging.restore(['lab']);
    await this.#staging.idle();
  }

  async recorded(): Promise<number> {
    const { journal } = this.#session.state;
    return journal.list().filter(({ state }) => state !== 'refused').length;
  }

  async end(): Promise<void> {
    this.#registry.isAway = false;
    await this.#staging.stop();
    await this.#kernel.filesystem.close();
    for (const { id } of this.#session.state.journal.list()) this.#session.state.journal.remove(id);
  }
}

/** Errors as system calls give them. */
async function named<T>(call: Promise<T>): Promise<T> {
  return call.catch((cause) => {
    throw Object.assign(new Error(String(cause.stack), { cause }), { code: NAMES[errnoOf(cause)] });
  });
}

const PATHS = ['a:1.sif', 'a:1.simg', 'b:1.sif', '.x.tmp'];

test.each([true, false])(
  'the filesystem does what the model does, whatever happens (--allow-delete: %s)',
  async (allowDelete) => {
    const registry = new MemoryRegistry();
    const { session } = await openWorld(
      { lab: { driver: 'dir', base: '/nowhere' } },
      { session: { ttl: '0s' } },
    );
    const backend = registry.backend('lab');
    session.backend = async () => backend;
    let round = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.commands(
          commands<number>({
            paths: PATHS.map((name) => `/lab/X/${name}`),
            images: ['/lab/X/a:1.sif', '/lab/X/b:1.sif'],
            duplicates: true,
          }),
          { size: '+1', maxCommands: 40 },
        ),
        async (sequence) => {
          round += 1;
          registry.tags.clear();
          session.metadata.forget(backend);
          const paths = PATHS.map((name) => `/lab/X/${name}`);
          const subject = new InProcess(session, registry, allowDelete, paths);
          const model = new Model(allowDelete);
          try {
            await fc.asyncModelRun(() => ({ model, real: { subject, handles: new Map(), paths } }), sequence);
            for (const [name, image] of registry.tags) {
              const content = registry.content(image.name as ImageName);
              expect(content?.equals(model.tags.get(`lab://${name}`) as Buffer), name).toBe(true);
            }
            expect(registry.tags.size).toBe(model.tags.size);
          } finally {
            await subject.end();
          }
        },
      ),
      { numRuns: RUNS, ...(process.env.MODEL_SEED ? { seed: Number(process.env.MODEL_SEED) } : {}) },
    );
    expect(round).toBeGreaterThan(0);
  },
  600_000,
);
