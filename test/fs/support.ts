/** A filesystem over a session of its own: settings, cache and catalog in a temporary folder. */
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { adoptPublished, publish } from '../../src/client/publish.ts';
import { Session, type SessionOptions } from '../../src/client/session.ts';
import { errnoOf } from '../../src/fs/errno.ts';
import { Filesystem, type FilesystemOptions } from '../../src/fs/filesystem.ts';
import type { Publisher } from '../../src/fs/publisher.ts';
import { Staging } from '../../src/fs/staging.ts';
import type { FindWriters } from '../../src/fs/writers.ts';

export const fixture = (name: string) => join(import.meta.dirname, '../fixtures/images', name);

export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'sregistry-test-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** An environment in which nothing of the person who runs the tests is seen or changed. */
export function environment(home: string): NodeJS.ProcessEnv {
  return {
    PATH: process.env.PATH,
    HOME: home,
    XDG_RUNTIME_DIR: home,
    SREGISTRY_CACHEDIR: join(home, 'cache'),
  };
}

export interface WorldOptions extends Partial<FilesystemOptions> {
  readonly home?: string;
  readonly session?: Omit<SessionOptions, 'env'>;
  readonly findWriters?: FindWriters;
  /** What pushing does otherwise than in a mount. */
  readonly publisher?: (session: Session) => Partial<Publisher>;
}

/**
 * A filesystem that shows the given instances (`{ lab: { driver: 'dir', base } }`), as one mount's process has it.
 * `stop` ends it as the end of a mount does; called after the test if the test does not.
 */
export async function openWorld(secrets: Record<string, object>, options: WorldOptions = {}) {
  const home = options.home ?? (await temporaryFolder());
  await writeFile(join(home, '.sregistry'), JSON.stringify(secrets), { mode: 0o600 });
  const session = await Session.open({ ttl: '1h', ...options.session, env: environment(home) });
  const publisher: Publisher = {
    uri: (backend, name) => session.uri(backend, name),
    push: (request) => publish(session, { ...request, ifAbsent: options.noOverwrite }),
    settle: (backend, image, file) => adoptPublished(session, backend, image, file),
    makeRoom: (bytes) => session.cache.makeRoomOnDisk(bytes),
    ...options.publisher?.(session),
  };
  const staging = new Staging({
    folder: session.stagingFolder,
    journal: session.state.journal,
    publisher,
    findWriters: options.findWriters,
  });
  const filesystem = new Filesystem(session, staging, {
    readOnly: false,
    allowDelete: false,
    noOverwrite: false,
    deadline: 20_000,
    ...options,
  });
  let stopped = false;
  const stop = async () => {
    if (stopped) return;
    stopped = true;
    await staging.stop();
    await filesystem.close();
    await session.close();
  };
  onTestFinished(stop);
  return { home, session, staging, filesystem, stop };
}

/** Writes a file as `cp` does: create, write in pieces, close; throws what `close()` would return. */
export async function copyIn(filesystem: Filesystem, path: string, bytes: Uint8Array): Promise<void> {
  const handle = await filesystem.create(path);
  try {
    await writeAll(filesystem, handle, bytes);
    await filesystem.flush(handle);
  } finally {
    await filesystem.release(handle);
  }
}

export async function writeAll(
  filesystem: Filesystem,
  handle: number,
  bytes: Uint8Array,
  at = 0,
): Promise<void> {
  const piece = 128 * 1024;
  for (let offset = 0; offset < bytes.length; offset += piece) {
    const part = bytes.subarray(offset, offset + piece);
    await filesystem.write(handle, part, at + offset, part.length);
  }
}

/** Reads a file to its end. */
export async function readFileAt(filesystem: Filesystem, path: string): Promise<Buffer> {
  const handle = await filesystem.open(path, 0);
  try {
    const parts: Buffer[] = [];
    for (let offset = 0; ; ) {
      const part = Buffer.alloc(128 * 1024);
      const count = await filesystem.read(handle, part, offset, part.length);
      if (count === 0) return Buffer.concat(parts);
      parts.push(part.subarray(0, count));
      offset += count;
    }
  } finally {
    await filesystem.release(handle);
  }
}

/** The errno a call fails with; undefined where it does not. */
export async function errnoOfCall(call: Promise<unknown>): Promise<number | undefined> {
  return call.then(() => undefined, errnoOf);
}

export const image = (name: string) => readFile(fixture(name));

/** What lies in the staging folder. */
export function stagedFiles(session: Session): Promise<string[]> {
  return readdir(session.stagingFolder).catch(() => []);
}
