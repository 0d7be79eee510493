/** Mounts in the background: starting the process that serves one, asking it, ending it. */
import { spawn } from 'node:child_process';
import { mkdir, open, rename, stat } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type ErrorCode, SregistryError } from '../base/errors.ts';
import { isAlive, liveness } from '../base/process.ts';
import { getPaths } from '../settings/paths.ts';
import { askMount, listMounts, type MountRecord, type MountStatus } from './control.ts';
import type { MountRequest } from './mount.ts';
import type { ReadyMessage } from './mount-process.ts';
import { isMounted, mountedPaths, unmount } from './mountpoint.ts';

/** Bytes after which a log is set aside and a new one begun. */
const LOG_LIMIT = 10 * 1024 * 1024;
/** Milliseconds a mount may take to answer a question about itself. */
const ANSWER_TIMEOUT = 5_000;
/** Milliseconds to wait for a process to end after its mount has. */
const END_TIMEOUT = 15_000;

/** Starts the background process; resolves to its pid when the mount answers. */
export async function mountInBackground(request: MountRequest, env: NodeJS.ProcessEnv): Promise<number> {
  const log = await openLog(getPaths(env).logDir, request.mountpoint);
  const script = fileURLToPath(new URL(`./mount-process${extname(import.meta.url)}`, import.meta.url));
  const child = spawn(process.execPath, [script, JSON.stringify({ ...request, log: log.path })], {
    detached: true,
    env,
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

/** What each living mount of this user says of itself; one that does not answer is named in `silent`. */
export async function mountStatuses(
  env: NodeJS.ProcessEnv,
  mountpoint?: string,
): Promise<{ mounts: MountStatus[]; silent: MountRecord[] }> {
  const records = await listMounts(getPaths(env).runtimeDir);
  const wanted = records.filter((record) => mountpoint === undefined || record.mountpoint === mountpoint);
  const answers = await Promise.allSettled(wanted.map((r) => askMount(r, 'status', {}, ANSWER_TIMEOUT)));
  return {
    mounts: answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : [])),
    silent: wanted.filter((_, index) => answers[index]?.status === 'rejected'),
  };
}

/**
 * Unmounts and waits for the process to end. Without `force` it waits for pushes under way; with it they stay in the
 * journal, and a process that does not answer is ended. `signal` ends the waiting, not the unmounting.
 */
export async function unmountAt(
  mountpoint: string,
  force: boolean,
  env: NodeJS.ProcessEnv,
  signal?: AbortSignal,
): Promise<void> {
  const record = (await listMounts(getPaths(env).runtimeDir)).find((each) => each.mountpoint === mountpoint);
  if (record === undefined) return unmountForeign(mountpoint);
  try {
    await askMount(record, 'unmount', { force }, force ? ANSWER_TIMEOUT : 0, signal);
  } catch (error) {
    if (!force) throw error;
    await unmount(mountpoint);
    if (liveness(record) === 'alive') process.kill(record.pid, 'SIGKILL');
  }
  const deadline = Date.now() + END_TIMEOUT;
  while (isAlive(record) && Date.now() < deadline) await sleep(20);
  if (liveness(record) === 'alive' && force) process.kill(record.pid, 'SIGKILL');
}

/** A mount whose process is dead, or belongs to another user. */
async function unmountForeign(mountpoint: string): Promise<void> {
  if (await isMounted(mountpoint)) {
    await unmount(mountpoint);
    return;
  }
  const others = await mountedPaths();
  throw new SregistryError('NOT_FOUND', `No sregistry is mounted at ${mountpoint}`, {
    hint: others.length > 0 ? `There is one at ${others.join(', ')}` : 'sregistry status lists the mounts',
  });
}

async function openLog(folder: string, mountpoint: string) {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const path = join(folder, `mount-${basename(mountpoint) || 'root'}.log`);
  const size = await stat(path).then(
    (stats) => stats.size,
    () => 0,
  );
  if (size > LOG_LIMIT) await rename(path, `${path}.1`);
  return { path, handle: await open(path, 'a', 0o600) };
}
