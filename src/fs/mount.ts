/**
 * A mount, from opening the session to the last handle closed, in the process that serves it. It ends when asked over
 * the control socket, on SIGTERM or SIGINT, or when someone unmounts it from outside.
 */
import type { Server } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { describeError } from '../base/errors.ts';
import { ownProcess } from '../base/process.ts';
import { keepPublished, publish } from '../client/publish.ts';
import { Session, type SessionOptions } from '../client/session.ts';
import { openKeyRing } from '../client/signatures.ts';
import type { KeyRing } from '../image/signatures.ts';
import { parseDuration } from '../settings/environment.ts';
import { ensureRuntimeDir } from '../settings/paths.ts';
import {
  closeControl,
  type MountStatus,
  removeRecord,
  serveControl,
  socketPath,
  writeRecord,
} from './control.ts';
import { Filesystem } from './filesystem.ts';
import { mountFuse } from './fuse.ts';
import { isMounted, prepareMountpoint, unmount } from './mountpoint.ts';
import type { Publisher } from './publisher.ts';
import { signedOnly } from './signed.ts';
import { Staging } from './staging.ts';
import { writersBelow } from './writers.ts';

/** Seconds within which an operation that asks a service ends, retries included. */
const DEFAULT_TIMEOUT = '120';
/** Milliseconds between looks whether the mount is still there. */
const WATCH_INTERVAL = 1_000;
/** Milliseconds for which files still open after a lazy unmount on request are served. */
const GRACE = 5_000;

/** Plain JSON, so that it can be handed to the background process. */
export interface MountRequest extends Omit<SessionOptions, 'env'> {
  readonly mountpoint: string;
  readonly readOnly?: boolean;
  readonly allowOther?: boolean;
  readonly allowDelete?: boolean;
  readonly noOverwrite?: boolean;
  /** Path of a file of public keys: an image that none of them signed cannot be read. */
  readonly requireSigned?: string | undefined;
  /** Options passed to FUSE as they are. */
  readonly fuseOptions?: readonly string[];
  /** Path of the log, for status. */
  readonly log?: string;
}

export type Log = (message: string) => void;

export class Mount {
  readonly mountpoint: string;
  readonly #session: Session;
  readonly #staging: Staging;
  readonly #filesystem: Filesystem;
  readonly #runtimeDir: string;
  readonly #log: Log;
  readonly #since = Date.now();
  readonly #ended = Promise.withResolvers<void>();
  #control: Server | undefined;
  #ending: Promise<void> | undefined;
  /** Is it out of the tree already? */
  #hasLeft = false;

  private constructor(request: MountRequest, session: Session, keys: KeyRing | undefined, log: Log) {
    this.mountpoint = request.mountpoint;
    this.#session = session;
    this.#log = log;
    this.#runtimeDir = ensureRuntimeDir(session.paths.runtimeDir);
    this.#staging = new Staging({
      folder: session.stagingFolder,
      journal: session.state.journal,
      publisher: publisher(session, log),
      findWriters: writersBelow(request.mountpoint),
    });
    this.#filesystem = new Filesystem(session, this.#staging, {
      readOnly: request.readOnly ?? false,
      allowDelete: request.allowDelete ?? false,
      noOverwrite: request.noOverwrite ?? false,
      deadline: parseDuration(session.env.SREGISTRY_TIMEOUT || DEFAULT_TIMEOUT, 'SREGISTRY_TIMEOUT') * 1000,
      verify: keys && signedOnly(keys),
    });
    this.#filesystem.errors.onNote = (path, text) => log(`${path}: ${text}`);
  }

  /** Mounts; resolves when the mount answers. Nothing is left behind where it fails. */
  static async start(request: MountRequest, log: Log): Promise<Mount> {
    await prepareMountpoint(request.mountpoint);
    const { requireSigned } = request;
    const keys = requireSigned === undefined ? undefined : await openKeyRing(requireSigned);
    const session = await Session.open({ ...request, env: environmentOf(request) });
    const mount = new Mount(request, session, keys, log);
    try {
      await mount.#start(request);
      return mount;
    } catch (error) {
      await mount.end(true);
      throw error;
    }
  }

  /** Resolves when the mount has ended and everything is closed. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** Ends the mount. Waits for pushes under way, unless forced: then they stay in the journal. */
  async end(force: boolean): Promise<void> {
    this.#ending ??= this.#end(force);
    await this.#ending;
  }

  async #start(request: MountRequest): Promise<void> {
    for (const problem of this.#session.problems) this.#log(describeError(problem));
    if (this.#session.location.network !== undefined)
      this.#log(`The cache is on ${this.#session.location.network}: each machine has its own part of it`);
    await mountFuse(this.#filesystem, {
      mountpoint: this.mountpoint,
      allowOther: request.allowOther ?? false,
      readOnly: request.readOnly ?? false,
      extra: request.fuseOptions ?? [],
    });
    this.#control = await serveControl(socketPath(this.#runtimeDir, this.mountpoint), {
      status: async () => this.#status(),
      unmount: async ({ force }) => {
        await this.#leave(force);
        void this.end(force);
        return {};
      },
      forget: async ({ backend }) => {
        await this.#forget(backend);
        return {};
      },
    });
    await writeRecord(this.#runtimeDir, {
      ...ownProcess(),
      mountpoint: this.mountpoint,
      socket: socketPath(this.#runtimeDir, this.mountpoint),
      log: request.log ?? '',
      since: this.#since,
    });
    if (!request.readOnly) await this.#staging.restore(this.#session.backendNames);
    this.#log(`mounted ${this.mountpoint} with ${this.#session.backendNames.join(', ')}`);
    void this.#watch();
  }

  #status(): MountStatus {
    const { cache, backendNames, location } = this.#session;
    return {
      mountpoint: this.mountpoint,
      pid: process.pid,
      since: new Date(this.#since).toISOString(),
      backends: backendNames,
      cache: { path: location.root, bytes: cache.bytes, limit: cache.limit },
      fetchedBytes: cache.fetchedBytes,
      transfers: cache.transfers,
      openFiles: this.#filesystem.openFiles,
      pushing: this.#staging.pushing,
    };
  }

  async #forget(name: string | undefined): Promise<void> {
    const names = name === undefined ? this.#session.backendNames : [name];
    for (const each of names) this.#session.view.forget(await this.#session.backend(each));
  }

  /** Takes the mount out of the tree, after pushes under way unless forced. */
  async #leave(force: boolean): Promise<void> {
    if (this.#hasLeft) return;
    if (!force) await this.#staging.idle();
    const how = await unmount(this.mountpoint);
    this.#hasLeft = true;
    if (how === 'lazy') this.#log(`${this.mountpoint} was in use: unmounted lazily`);
  }

  async #end(force: boolean): Promise<void> {
    await this.#leave(force).catch((error) => this.#log(describeError(error)));
    const deadline = Date.now() + GRACE;
    while (this.#filesystem.openFiles > 0 && Date.now() < deadline) await sleep(50);
    await this.#close();
  }

  /** Ends the process's part when someone unmounted from outside; files still open are served until they are closed. */
  async #watch(): Promise<void> {
    while (this.#ending === undefined) {
      await sleep(WATCH_INTERVAL, undefined, { ref: false });
      if (await isMounted(this.mountpoint)) continue;
      while (this.#filesystem.openFiles > 0 && this.#ending === undefined) await sleep(WATCH_INTERVAL);
      this.#ending ??= this.#close();
    }
  }

  async #close(): Promise<void> {
    await this.#staging.stop();
    await this.#filesystem.close();
    await this.#session.close();
    await closeControl(this.#control);
    await removeRecord(this.#runtimeDir, this.mountpoint);
    this.#log(`ended ${this.mountpoint}`);
    this.#ended.resolve();
  }
}

/**
 * A login that names no registry goes to any that is asked for. Other users whom a mount lets in could ask for one of
 * theirs: it is not used then.
 */
function environmentOf({ allowOther }: MountRequest): NodeJS.ProcessEnv {
  if (!allowOther) return process.env;
  const roaming = /^(APPTAINER|SINGULARITY)_DOCKER_(USERNAME|PASSWORD)$/;
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !roaming.test(name)));
}

function publisher(session: Session, log: Log): Publisher {
  return {
    uri: (backend, name) => session.uri(backend, name),
    push: async (request) => {
      const uri = session.uri(request.backend, request.name);
      log(`pushing ${uri}, ${request.size} bytes`);
      const image = await publish(session, request);
      log(`pushed ${uri}`);
      return image;
    },
    settle: (backend, image, file) => keepPublished(session, backend, image, file),
    makeRoom: (bytes) => session.cache.makeRoom(bytes),
  };
}
