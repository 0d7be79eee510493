/**
 * What is known of a mount without asking it: a small file in the runtime directory, beside the mount's control socket. A
 * record is trusted only if the directory and the file belong to this user and neither is a link. A record may be old, so a
 * process is ended only after /proc has confirmed that it is the mount's.
 */
import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { readdir, rename, rm, writeFile } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { basename, isAbsolute, join } from 'node:path';
import { describeError, systemCode } from '../base/errors.ts';
import { readFileNoFollow } from '../base/no-follow.ts';
import { isOurs } from '../base/private.ts';
import { isAlive, liveness, type ProcessId } from '../base/process.ts';
import { hasRuntimeDir } from '../settings/paths.ts';
import { warnOnce } from '../settings/warn-once.ts';

export interface MountRecord extends ProcessId {
  readonly mountpoint: string;
  readonly log: string;
  /** Milliseconds since the epoch. */
  readonly since: number;
}

/** Bytes of a record at most: two paths of 4 KiB with every character escaped, and a little. */
const RECORD_LIMIT = 64 * 1024;

const recordName = (mountpoint: string) => createHash('sha256').update(mountpoint).digest('hex').slice(0, 24);

export function recordPath(runtimeDir: string, mountpoint: string): string {
  return join(runtimeDir, `${recordName(mountpoint)}.json`);
}

export function socketPath(runtimeDir: string, mountpoint: string): string {
  return join(runtimeDir, `${recordName(mountpoint)}.sock`);
}

/** Characters of a mount point's own name in the name of its log: file systems allow 255 bytes. */
const LOG_NAME = 40;

/** The log of a mount in the background. Mount points whose last parts are equal have logs of their own. */
export function logPath(folder: string, mountpoint: string): string {
  const name = (basename(mountpoint) || 'root').slice(0, LOG_NAME);
  return join(folder, `mount-${name}-${recordName(mountpoint).slice(0, 8)}.log`);
}

export async function writeRecord(runtimeDir: string, record: MountRecord): Promise<void> {
  const path = recordPath(runtimeDir, record.mountpoint);
  const whole = `${path}.${process.pid}`;
  await rm(whole, { force: true });
  await writeFile(whole, JSON.stringify(record), { mode: 0o600, flag: 'wx' });
  await rename(whole, path);
}

export async function removeRecord(runtimeDir: string, mountpoint: string): Promise<void> {
  await rm(recordPath(runtimeDir, mountpoint), { force: true });
  await rm(socketPath(runtimeDir, mountpoint), { force: true });
}

/**
 * The mounts of this user whose processes are alive. Removes records of dead ones. If the runtime directory is another user's,
 * returns none and prints a warning.
 */
export async function listMounts(runtimeDir: string): Promise<MountRecord[]> {
  if (!isReadable(runtimeDir)) return [];
  const mounts: MountRecord[] = [];
  for (const name of await readdir(runtimeDir)) {
    const record = await readRecord(runtimeDir, name);
    if (record === undefined) continue;
    if (isAlive(record)) mounts.push(record);
    else await removeDead(runtimeDir, record);
  }
  return mounts;
}

/**
 * Removes the record and the socket of a dead process. A new mount at the same place may have made its own in the meantime: those
 * stay.
 */
async function removeDead(runtimeDir: string, dead: MountRecord): Promise<void> {
  const path = recordPath(runtimeDir, dead.mountpoint);
  const current = await readRecord(runtimeDir, basename(path));
  if (current?.pid !== dead.pid || current.startTime !== dead.startTime) return;
  const socket = socketPath(runtimeDir, dead.mountpoint);
  if (await isListening(socket)) return;
  await rm(path, { force: true });
  await rm(socket, { force: true });
}

/** Does a process serve this socket? */
function isListening(socket: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const connection = createConnection(socket);
  connection
    .once('connect', () => resolve(true))
    .once('error', (error) => resolve(!['ECONNREFUSED', 'ENOENT'].includes(systemCode(error) ?? '')));
  return promise.finally(() => connection.destroy());
}

/** May the process be ended with the mount? It must be this user's, have written the record, and serve that mount. */
export function isMountProcess(record: MountRecord): boolean {
  try {
    const owner = statSync(`/proc/${record.pid}`);
    const words = readFileSync(`/proc/${record.pid}/cmdline`, 'utf8').split('\0');
    return isOurs(owner) && servesMount(words, record.mountpoint) && liveness(record) === 'alive';
  } catch {
    return false;
  }
}

/**
 * In the background `node [OPTION]... mount-process.js {"mountpoint":...}`; in the foreground `node [OPTION]... sregistry mount ...
 * --foreground`.
 */
function servesMount(words: readonly string[], mountpoint: string): boolean {
  const at = words.findIndex((word, index) => index > 0 && !word.startsWith('-'));
  const [script = '', request = ''] = words.slice(at);
  if (/^mount-process\.[jt]s$/.test(basename(script))) return parseObject(request)?.mountpoint === mountpoint;
  const isForeground = words.some((word) => /^(--foreground|-[a-z]*f)/.test(word));
  return /^sregistry(\.js)?$/.test(basename(script)) && words.includes('mount') && isForeground;
}

function isReadable(runtimeDir: string): boolean {
  try {
    return hasRuntimeDir(runtimeDir);
  } catch (error) {
    warnOnce(describeError(error));
    return false;
  }
}

async function readRecord(runtimeDir: string, name: string): Promise<MountRecord | undefined> {
  if (!name.endsWith('.json')) return undefined;
  const record = parseObject((await readFileNoFollow(join(runtimeDir, name), RECORD_LIMIT)) ?? '');
  return isRecord(record) && name === basename(recordPath('', record.mountpoint)) ? record : undefined;
}

function isRecord(record: Partial<Record<keyof MountRecord, unknown>> | undefined): record is MountRecord {
  if (record === undefined) return false;
  const { pid, startTime, mountpoint, log, since } = record;
  return (
    Number.isSafeInteger(pid) &&
    (pid as number) > 0 &&
    typeof startTime === 'string' &&
    typeof mountpoint === 'string' &&
    isAbsolute(mountpoint) &&
    typeof log === 'string' &&
    Number.isFinite(since)
  );
}

function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
