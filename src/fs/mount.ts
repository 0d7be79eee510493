/**
 * A mount, from opening the session to the last handle closed, in the process that serves it. It ends in one of three
 * ways:
 *
 * - asked over the control socket: after its pushes and only if nobody uses it, or at once if forced;
 * - by a signal (SIGTERM, SIGINT): after its pushes but within a limit, even if it is in use;
 * - unmounted by someone from outside: when the last file is closed.
 *
 * The log says what was cut off. Then the end is a list of steps (shutdown.ts); each runs even if an earlier one failed.
 */
import type { Server } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { describeError } from '../base/errors.ts';
import { ownProcess } from '../base/process.ts';
import { version } from '../base/version.ts';
import { adoptPublished, publish } from '../client/publish.ts';
import { Session, type SessionOptions } from '../client/session.ts';
import { openKeyRing } from '../client/signatures.ts';
import { warmUp } from '../client/warm-up.ts';
import type { KeyRing } from '../image/signatures.ts';
import type { Log, LogFormat } from '../log/index.ts';
import { parseDuration } from '../settings/environment.ts';
import { ensureRuntimeDir } from '../settings/paths.ts';
import { closeControl, type MountStatus, serveControl } from './control.ts';
import { FileWatch } from './file-watch.ts';
import { Filesystem } from './filesystem.ts';
import { isConnected, mountFuse } from './fuse.ts';
import { type Cut, describeUsed, inUse, isHeld, type UsedPath, usedPaths } from './in-use.ts';
import { removeRecord, socketPath, writeRecord } from './mount-record.ts';
import { isMounted, prepareMountpoint, unmountLazily, unmountUnused } from './mountpoint.ts';
import type { Publisher } from './publisher.ts';
import { isDoneWithin, runSteps, type Step } from './shutdown.ts';
import { signedOnly } from './signed.ts';
import { Staging } from './staging.ts';
import { writersBelow } from './writers.ts';

/** Seconds within which an operation that asks a service ends, retries included. */
const DEFAULT_TIMEOUT = '120';
/** Milliseconds between two checks that the mount is still there. */
const WATCH_INTERVAL = 1_000;
/** Seconds for which a signal waits for pushes: with the rest it has to fit into the 90 s that systemd gives a service. */
const DEFAULT_PUSH_WAIT = '60';
/** Milliseconds for which cut-off readers are still served, so that short reads can finish. */
const GRACE = 5_000;
/** Milliseconds that one step of closing may take before the next one begins. */
const STEP_LIMIT = 10_000;
/** Milliseconds for which the kernel may call the mount busy without a visible user: a lookup in progress holds it too. */
const BUSY_TIMEOUT = 2_000;
/** Milliseconds between two checks whether something is over. */
const LOOK_INTERVAL = 50;

/** Plain JSON, so that it can be handed to the background process. */
export interface MountRequest extends Omit<SessionOptions, 'env'> {
  readonly mountpoint: string;
  readonly readOnly?: boolean;
  readonly allowOther?: boolean;
  readonly allowDelete?: boolean;
  readonly noOverwrite?: boolean;
  /** Have no extended attributes. The kernel then asks for none. */
  readonly noXattrs?: boolean;
  /** Path of a file of public keys. Only images that one of them signed can be read. */
  readonly requireSigned?: string | undefined;
  /** How long a signal waits for pushes: seconds, or a number with a unit. */
  readonly pushWait?: string | undefined;
  /** Options passed to FUSE as they are. */
  readonly fuseOptions?: readonly string[];
  /** Variables that this mount has instead of those of its process's environment. */
  readonly variables?: Readonly<Record<string, string>>;
  readonly logFormat?: LogFormat | undefined;
  /** Path of the log, for status. */
  readonly log?: string;
}

export class Mount {
  readonly mountpoint: string;
  readonly #session: Session;
  readonly #staging: Staging;
  readonly #filesystem: Filesystem;
  readonly #runtimeDir: string;
  readonly #log: Log;
  readonly #logPath: string;
  readonly #since = Date.now();
  /** Milliseconds. */
  readonly #pushWait: number;
  readonly #settings: FileWatch;
  readonly #ended = Promise.withResolvers<readonly string[]>();
  #control: Server | undefined;
  /** Is the end under way? It begins only once. */
  #isEnding = false;
  /** Requests to unmount that are under way. */
  #unmounts = 0;
  /** Fires when the users of the mount are cut off, so that nothing waits for them any more. */
  readonly #cut = new AbortController();

  private constructor(request: MountRequest, session: Session, keys: KeyRing | undefined, log: Log) {
    this.mountpoint = request.mountpoint;
    this.#session = session;
    this.#log = log;
    this.#logPath = request.log ?? '';
    this.#pushWait = parseDuration(request.pushWait || DEFAULT_PUSH_WAIT, '--push-wait') * 1000;
    this.#settings = new FileWatch(session.paths.secretsFile);
    this.#runtimeDir = ensureRuntimeDir(session.paths.runtimeDir);
    this.#staging = new Staging({
      folder: session.stagingFolder,
      journal: session.state.journal,
      publisher: publisher(session, log, request.noOverwrite ?? false),
      findWriters: writersBelow(request.mountpoint),
    });
    this.#filesystem = new Filesystem(session, this.#staging, {
      readOnly: request.readOnly ?? false,
      allowDelete: request.allowDelete ?? false,
      noOverwrite: request.noOverwrite ?? false,
      deadline: parseDuration(session.env.SREGISTRY_TIMEOUT || DEFAULT_TIMEOUT, 'SREGISTRY_TIMEOUT') * 1000,
      verify: keys && signedOnly(keys),
    });
    this.#filesystem.errors.onNote = (path, text) => log(`${path}: ${text}`, 'warning');
  }

  /** Mounts; resolves when the mount answers. A failure leaves nothing behind. */
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
      await mount.#abandon();
      throw error;
    }
  }

  /** Resolves to the steps that failed, when the mount has ended and everything is closed. */
  get ended(): Promise<readonly string[]> {
    return this.#ended.promise;
  }

  /** Pushes under way. */
  get pushing(): number {
    return this.#staging.pushing;
  }

  get isEnding(): boolean {
    return this.#isEnding;
  }

  /** What it does now, in a line. */
  get summary(): string {
    const { backendNames } = this.#session;
    return `${backendNames.join(', ')} at ${this.mountpoint}: ${this.#filesystem.openFiles} open files, ${this.pushing} pushes`;
  }

  /**
   * Reads the settings anew, as {@link Session.reload} does, and forgets what is remembered of services. Throws SETTINGS, and
   * changes nothing, if they cannot be used.
   */
  async reload(): Promise<void> {
    await this.#reloadSettings();
    await this.#session.forgetAll();
    this.#log(`settings were reloaded: ${this.#session.backendNames.join(', ')}`);
  }

  /**
   * Ends the mount as a service manager expects: waits for pushes, though not without a limit, leaves the others in the journal,
   * and cuts off everyone who still uses the mount.
   */
  async end(): Promise<void> {
    // Unmounted already, it waits for files to be closed.
    if (this.#isEnding) return this.#cut.abort();
    const pushes = this.#pushes();
    this.#log(`told to end: waiting up to ${this.#pushWait / 1000} seconds for ${pushes.length} pushes`);
    for (const uri of pushes) this.#log(`waiting for the push of ${uri}`);
    await this.#end([
      {
        name: 'wait for pushes',
        run: () => isDoneWithin(this.#staging.idle(), this.#pushWait, this.#cut.signal),
      },
      { name: `unmount ${this.mountpoint}`, run: () => this.#cutOff() },
    ]);
  }

  async #start(request: MountRequest): Promise<void> {
    for (const problem of this.#session.problems) this.#log(describeError(problem), 'warning');
    if (this.#session.location.network !== undefined)
      this.#log(`The cache is on ${this.#session.location.network}: each machine has its own part of it`);
    await mountFuse(this.#filesystem, {
      mountpoint: this.mountpoint,
      allowOther: request.allowOther ?? false,
      readOnly: request.readOnly ?? false,
      ttl: this.#session.ttl,
      hasXattrs: !(request.noXattrs ?? false),
      extra: request.fuseOptions ?? [],
    });
    this.#control = await serveControl(socketPath(this.#runtimeDir, this.mountpoint), {
      status: async () => this.#status(),
      unmount: async ({ force }, signal) => {
        const cut = await this.#unmounting(() => (force ? this.#cutOff() : this.#unmountWhenUnused(signal)));
        void this.#end([]);
        return { cut };
      },
      kept: async ({ record, act }) => {
        if (act === 'push') await this.#staging.pushKept(record);
        else await this.#staging.dropKept(record);
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
      log: this.#logPath,
      since: this.#since,
    });
    if (!request.readOnly) await this.#staging.restore(this.#session.backendNames);
    this.#log(`mounted ${this.mountpoint} with ${this.#session.backendNames.join(', ')}`);
    void this.#watch();
    void warmUp(this.#session);
  }

  #status(): MountStatus {
    const { cache, layers, backendNames, location, metadata } = this.#session;
    return {
      mountpoint: this.mountpoint,
      pid: process.pid,
      version,
      since: new Date(this.#since).toISOString(),
      backends: backendNames,
      unreachable: metadata.health.unreachable,
      log: this.#logPath,
      cache: { path: location.root, bytes: cache.bytes, limit: cache.limit },
      fetchedBytes: cache.fetchedBytes + layers.fetchedBytes,
      transfers: [...cache.transfers, ...layers.transfers],
      openFiles: this.#filesystem.openFiles,
      open: this.#filesystem.openPaths,
      pushing: this.#staging.pushing,
    };
  }

  async #forget(name: string | undefined): Promise<void> {
    const names = name === undefined ? this.#session.backendNames : [name];
    for (const each of names) this.#session.metadata.forget(await this.#session.backend(each));
  }

  /** Runs `act`, which unmounts. Meanwhile {@link #watch} does not take the unmounting for somebody else's. */
  async #unmounting<T>(act: () => Promise<T>): Promise<T> {
    this.#unmounts += 1;
    try {
      return await act();
    } finally {
      this.#unmounts -= 1;
    }
  }

  /** Unmounts after the pushes under way. If the mount is in use, throws BUSY and the mount continues. */
  async #unmountWhenUnused(signal: AbortSignal): Promise<Cut> {
    // The kernel does not count users in other mount namespaces, so look for them first.
    const seen = await this.#used();
    if (isHeld(seen)) throw inUse(this.mountpoint, seen);
    await Promise.race([Promise.all([this.#staging.idle(), this.#filesystem.idle()]), rejection(signal)]);
    const deadline = Date.now() + BUSY_TIMEOUT;
    for (;;) {
      signal.throwIfAborted();
      if (await unmountUnused(this.mountpoint)) return { files: [], pushes: [] };
      const used = await this.#used();
      if (isHeld(used) || Date.now() > deadline) throw inUse(this.mountpoint, used);
      await sleep(LOOK_INTERVAL);
    }
  }

  /** Unmounts even if the mount is in use, and logs what that cuts off. */
  async #cutOff(): Promise<Cut> {
    const used = await this.#used().catch(() => []);
    const pushes = this.#pushes();
    const how = await unmountLazily(this.mountpoint);
    this.#cut.abort();
    const files = how === 'used' ? used : used.filter(({ uses }) => uses.length > 0);
    if (how === 'used') this.#log(`${this.mountpoint} was in use: unmounted lazily`);
    for (const each of files) this.#log(`cut off ${describeUsed(each)}`);
    for (const uri of pushes) this.#log(`cut off the push of ${uri}, which is kept`, 'warning');
    return { files, pushes };
  }

  /** URIs of the pushes under way. */
  #pushes(): string[] {
    return this.#session.state.journal
      .list()
      .filter(({ state, owner }) => state === 'pushing' && owner.pid === process.pid)
      .map(({ uri }) => uri);
  }

  #used(): Promise<UsedPath[]> {
    return usedPaths(this.mountpoint, this.#filesystem.openPaths);
  }

  async #reloadSettings(): Promise<void> {
    const outcome = await this.#session.reload();
    for (const problem of this.#session.problems) this.#log(describeError(problem), 'warning');
    for (const [what, names] of Object.entries(outcome))
      if (names.length > 0) this.#log(`${what} by the settings: ${names.join(', ')}`);
  }

  /** Follows the settings. Ends the process after someone unmounted from outside. Files still open are served until they are closed. */
  async #watch(): Promise<void> {
    while (!this.#isEnding) {
      await sleep(WATCH_INTERVAL, undefined, { ref: false });
      const isThere = await isMounted(this.mountpoint).catch((error) => {
        this.#log(`could not read the mount table: ${describeError(error)}`);
        return true;
      });
      if (await this.#settings.hasChanged())
        await this.#reloadSettings().catch((error) =>
          this.#log(`settings were not reloaded: ${describeError(error)}`, 'error'),
        );
      if (isThere || this.#isEnding || this.#unmounts > 0) continue;
      this.#log(`${this.mountpoint} was unmounted from outside; open files are served until they are closed`);
      await this.#end([]);
    }
  }

  /** Undoes a mount that failed halfway. */
  async #abandon(): Promise<void> {
    this.#cut.abort();
    await this.#end([{ name: `unmount ${this.mountpoint}`, run: () => unmountLazily(this.mountpoint) }]);
  }

  /** Runs the given steps, then those that close everything. Only the first call starts them. */
  async #end(first: readonly Step[]): Promise<void> {
    if (this.#isEnding) return;
    this.#isEnding = true;
    const closing: readonly Step[] = [
      { name: 'stop pushes', run: () => this.#staging.stop() },
      { name: 'serve what was cut off for a moment', run: () => this.#filesClosed(GRACE) },
      { name: 'close files', run: () => this.#filesystem.close() },
      { name: 'close catalog and cache', run: () => this.#session.close() },
      { name: 'close the control socket', run: () => closeControl(this.#control) },
      { name: 'remove the record', run: () => removeRecord(this.#runtimeDir, this.mountpoint) },
    ];
    const failed = await runSteps(
      [
        ...first,
        {
          name: 'wait for open files',
          run: () => this.#filesClosed(Number.POSITIVE_INFINITY, this.#cut.signal),
        },
        ...closing.map((step) => ({ ...step, limit: STEP_LIMIT })),
      ],
      this.#log,
    );
    this.#log(`ended ${this.mountpoint}`);
    this.#ended.resolve(failed);
  }

  /** Waits until the last file is closed, but not longer than so many milliseconds nor than until the signal fires. */
  async #filesClosed(timeout: number, signal?: AbortSignal): Promise<void> {
    const deadline = Date.now() + timeout;
    let pause = LOOK_INTERVAL;
    while (this.#filesystem.openFiles > 0 && Date.now() < deadline && !signal?.aborted) {
      if (!(await isConnected())) return;
      await sleep(pause, undefined, { signal }).catch(() => {});
      pause = Math.min(2 * pause, WATCH_INTERVAL);
    }
  }
}

/** Rejects with the signal's reason when it fires. */
function rejection(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}

/**
 * A login without a registry is sent to every registry that is asked for. Other users of a shared mount could name a registry
 * of theirs, so a shared mount does not use such a login.
 */
function environmentOf({ allowOther, variables }: MountRequest): NodeJS.ProcessEnv {
  const env = { ...process.env, ...variables };
  if (!allowOther) return env;
  const roaming = /^(APPTAINER|SINGULARITY)_DOCKER_(USERNAME|PASSWORD)$/;
  return Object.fromEntries(Object.entries(env).filter(([name]) => !roaming.test(name)));
}

function publisher(session: Session, log: Log, ifAbsent: boolean): Publisher {
  return {
    uri: (backend, name) => session.uri(backend, name),
    push: async (request) => {
      const uri = session.uri(request.backend, request.name);
      log(`pushing ${uri}, ${request.size} bytes`);
      const image = await publish(session, { ...request, ifAbsent });
      log(`pushed ${uri}`);
      return image;
    },
    settle: (backend, image, file) => adoptPublished(session, backend, image, file),
    makeRoom: (bytes) => session.cache.makeRoomOnDisk(bytes),
  };
}
