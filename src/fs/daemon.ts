/** Mounts in the background: starts, asks and ends the process that serves a mount. */
import { spawn } from 'node:child_process';
import { rename, stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type ErrorCode, isError, SregistryError } from '../base/errors.ts';
import { openLogNoFollow } from '../base/no-follow.ts';
import { entryModule } from '../base/package.ts';
import { isAlive } from '../base/process.ts';
import { ensureLogDir, getPaths, LOG_HINT } from '../settings/paths.ts';
import { askMount, type MountStatus } from './control.ts';
import { type Cut, inUse, isHeld, usedPaths } from './in-use.ts';
import type { MountRequest } from './mount.ts';
import type { ReadyMessage } from './mount-process.ts';
import { isMountProcess, listMounts, logPath, type MountRecord } from './mount-record.ts';
import {
  deadMounts,
  isMounted,
  mountedPaths,
  serviceOf,
  unmountLazily,
  unmountUnused,
} from './mountpoint.ts';

/** Bytes after which a log is set aside and a new one begun. */
const LOG_LIMIT = 10 * 1024 * 1024;
/** Milliseconds a mount may take to answer a question about itself. */
const ANSWER_TIMEOUT = 5_000;
/** Milliseconds without an answer after which unmounting treats a mount as hung. */
const END_ANSWER_TIMEOUT = 10_000;
/** Milliseconds between looks at a mount that is about to end. */
const WATCH_INTERVAL = 1_000;
/** Milliseconds to wait for a process to end after its mount has: it serves what was cut off for 5 seconds, then closes. */
const END_TIMEOUT = 30_000;
/** Milliseconds that a hung process has to end by itself after SIGTERM. */
const TERM_TIMEOUT = 5_000;

/**
 * Memory limits for the process of a mount, which runs for months beside the jobs of its node. Without them, V8's young
 * generation grows to 96 MiB, and glibc gives each thread a heap of its own. Both keep what they took once. The smallest young
 * generation is also the fastest here: V8 does not count the buffers of sockets and of the kernel in it, so with a larger one they
 * pile up until V8 looks through everything.
 */
const FRUGAL_NODE = ['--max-semi-space-size=1'];
const FRUGAL_MALLOC = { MALLOC_ARENA_MAX: '2' };

/**
 * Replaces this process by one with these limits: V8 accepts no heap limit while it runs. Returns if the process has the limits
 * already, or cannot be replaced.
 */
export function becomeFrugal(env: NodeJS.ProcessEnv): void {
  const { execArgv, execPath, argv } = process;
  if (FRUGAL_NODE.every((flag) => execArgv.includes(flag)) || process.execve === undefined) return;
  const words = [execPath, ...execArgv, ...FRUGAL_NODE, ...argv.slice(1)];
  process.execve(execPath, words, { ...FRUGAL_MALLOC, ...env });
}

/** Starts the background process; resolves to its pid when the mount answers. */
export async function mountInBackground(request: MountRequest, env: NodeJS.ProcessEnv): Promise<number> {
  const log = await openLog(getPaths(env).logDir, request.mountpoint);
  const script = fileURLToPath(entryModule('fs/mount-process'));
  const words = [...FRUGAL_NODE, script, JSON.stringify({ ...request, log: log.path })];
  const child = spawn(process.execPath, words, {
    detached: true,
    env: { ...FRUGAL_MALLOC, ...env },
    cwd: '/',
    stdio: ['ignore', log.handle.fd, log.handle.fd, 'ipc'],
  });
  await log.handle.close();
  const answer = await new Promise<ReadyMessage>((resolve, reject) => {
    child.once('message', (message) => resolve(message as ReadyMessage));
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      reject(
        new SregistryError('INTERNAL', `The mount process ended at once (${signal ?? `exit ${code}`})`, {
          hint: `Its log is ${log.path}`,
        }),
      );
    });
  });
  child.removeAllListeners('exit');
  child.unref();
  if (!answer.ready)
    throw new SregistryError(answer.code as ErrorCode, answer.message, { hint: answer.hint });
  return child.pid as number;
}

/**
 * The status of each living mount of this user; `silent` names those that do not answer, `dead` those whose process has
 * ended.
 */
export async function mountStatuses(
  env: NodeJS.ProcessEnv,
  mountpoint?: string,
): Promise<{ mounts: MountStatus[]; silent: MountRecord[]; dead: string[] }> {
  const { runtimeDir } = getPaths(env);
  const records = await listMounts(runtimeDir);
  const wanted = records.filter((record) => mountpoint === undefined || record.mountpoint === mountpoint);
  const dead = await deadMounts(records.map((record) => record.mountpoint));
  const answers = await Promise.allSettled(
    wanted.map((record) => askMount(runtimeDir, record.mountpoint, 'status', {}, ANSWER_TIMEOUT)),
  );
  return {
    mounts: answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : [])),
    dead: dead.filter((path) => mountpoint === undefined || path === mountpoint),
    silent: wanted.filter((_, index) => answers[index]?.status === 'rejected'),
  };
}

export interface UnmountOptions {
  /** Cut off all users of the mount, and end a process that does not answer. Default: a mount in use is the error BUSY. */
  readonly force: boolean;
  readonly env: NodeJS.ProcessEnv;
  /** Called about once a second during the wait for pushes. */
  readonly onWait?: (status: MountStatus) => void;
  /** Ends the wait. A mount that is not unmounted by then stays mounted. */
  readonly signal?: AbortSignal;
}

/**
 * Unmounts and waits for the process to end. Without `force`, waits for pushes under way. With `force`, leaves pushes in the
 * journal, and returns what was cut off.
 */
export async function unmountAt(mountpoint: string, options: UnmountOptions): Promise<Cut> {
  const { runtimeDir } = getPaths(options.env);
  const record = (await listMounts(runtimeDir)).find((each) => each.mountpoint === mountpoint);
  if (record === undefined) return unmountForeign(mountpoint, options.force);
  try {
    const cut = options.force
      ? (await askMount(runtimeDir, mountpoint, 'unmount', { force: true }, END_ANSWER_TIMEOUT)).cut
      : await askToUnmount(runtimeDir, mountpoint, options);
    await hasEnded(record, END_TIMEOUT);
    return cut;
  } catch (error) {
    if (!options.force || !isError(error, 'UNREACHABLE', 'SETTINGS')) throw error;
    return cutOff(record);
  }
}

/** Asks the mount to end when it can, and checks meanwhile that it still answers. */
async function askToUnmount(runtimeDir: string, mountpoint: string, options: UnmountOptions): Promise<Cut> {
  const { onWait, signal } = options;
  const hangUp = new AbortController();
  const signals = signal === undefined ? [hangUp.signal] : [hangUp.signal, signal];
  const answer = askMount(runtimeDir, mountpoint, 'unmount', { force: false }, 0, AbortSignal.any(signals));
  const ask = () => askMount(runtimeDir, mountpoint, 'status', {}, END_ANSWER_TIMEOUT, hangUp.signal);
  const watch = async () => {
    for (;;) {
      await sleep(WATCH_INTERVAL, undefined, { signal: hangUp.signal });
      const status = await ask().catch(async (error: unknown) => {
        // It may have closed its socket because it is unmounted: then the answer is on its way.
        await sleep(END_ANSWER_TIMEOUT, undefined, { signal: hangUp.signal });
        throw error;
      });
      onWait?.(status);
    }
  };
  try {
    return (await Promise.race([answer, watch()])).cut;
  } finally {
    hangUp.abort();
  }
}

/** Unmounts a mount that does not answer, and ends its process. */
async function cutOff(record: MountRecord): Promise<Cut> {
  const files = await usedPaths(record.mountpoint, []);
  await unmountLazily(record.mountpoint);
  await endProcess(record);
  return { files, pushes: [] };
}

/** Ends a hung process with SIGTERM, then SIGKILL, if it is the mount's. */
async function endProcess(record: MountRecord): Promise<void> {
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    if (!isMountProcess(record)) return;
    process.kill(record.pid, signal);
    if (await hasEnded(record, TERM_TIMEOUT)) return;
  }
}

async function hasEnded(record: MountRecord, milliseconds: number): Promise<boolean> {
  const deadline = Date.now() + milliseconds;
  while (isAlive(record) && Date.now() < deadline) await sleep(20);
  return !isAlive(record);
}

/** Unmounts a mount without a record: its process is dead, belongs to another user, or has its record elsewhere. */
async function unmountForeign(mountpoint: string, force: boolean): Promise<Cut> {
  if (!(await isMounted(mountpoint))) {
    const others = await mountedPaths();
    throw new SregistryError('NOT_FOUND', `No sregistry is mounted at ${mountpoint}`, {
      hint: others.length > 0 ? `It is mounted at ${others.join(', ')}` : 'sregistry status lists the mounts',
    });
  }
  const files = await usedPaths(mountpoint, []);
  // The users of a dead mount were cut off when its process died.
  if (force || (await serviceOf(mountpoint)) === 'dead') {
    await unmountLazily(mountpoint);
    return { files, pushes: [] };
  }
  if (isHeld(files) || !(await unmountUnused(mountpoint))) throw inUse(mountpoint, files);
  return { files: [], pushes: [] };
}

async function openLog(folder: string, mountpoint: string) {
  ensureLogDir(folder);
  const path = logPath(folder, mountpoint);
  const size = await stat(path).then(
    (stats) => stats.size,
    () => 0,
  );
  if (size > LOG_LIMIT) await rename(path, `${path}.1`);
  return { path, handle: await openLogNoFollow(path, LOG_HINT) };
}
