/**
 * Identifies the process that owns something. A pid is reused, a pid with its start time is not. Reads Linux's /proc, which
 * shows the processes of one pid namespace. For a process of another namespace (a container on this machine),
 * src/catalog/owners.ts asks a lock instead.
 */
import { readFileSync, readlinkSync } from 'node:fs';
import { systemCode } from './errors.ts';

export interface ProcessId {
  readonly pid: number;
  /** Opaque, equal for one process only: boot id of the machine, pid namespace, clock ticks from boot to its start. */
  readonly startTime: string;
}

/** `elsewhere`: this process cannot see it, because it is in another pid namespace, or /proc cannot be read. */
export type Liveness = 'alive' | 'dead' | 'elsewhere';

/** proc(5): state is field 3 and starttime field 22; counted from the field after the command's name, field 2. */
const STATE = 0;
const START_TIME = 19;

/** The start time of a living process of this pid namespace. Undefined if the process has ended or is a zombie. */
export function processStartTime(pid: number): string | undefined {
  return startTimeIn(`/proc/${pid}`);
}

function startTimeIn(folder: string): string | undefined {
  const stat = readOfProcess(`${folder}/stat`);
  if (stat === undefined) return undefined;
  // The command's name stands in parentheses and may itself hold spaces and parentheses.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const state = fields[STATE];
  if (state === 'Z' || state === 'X') return undefined;
  return [bootId(), pidNamespace(), fields[START_TIME]].join(':');
}

/** The state of a process as /proc shows it. A process of an earlier boot is dead. */
export function liveness({ pid, startTime }: ProcessId): Liveness {
  const [boot, namespace] = startTime.split(':');
  if (boot !== bootId()) return 'dead';
  if (namespace !== pidNamespace() || !showsOwnNamespace()) return 'elsewhere';
  try {
    return processStartTime(pid) === startTime ? 'alive' : 'dead';
  } catch {
    return 'elsewhere';
  }
}

/** May the process be alive? One of another pid namespace counts as alive. */
export function isAlive(process: ProcessId): boolean {
  return liveness(process) !== 'dead';
}

let own: ProcessId | undefined;

/** This process. */
export function ownProcess(): ProcessId {
  own ??= { pid: process.pid, startTime: startTimeIn('/proc/self') ?? '' };
  return own;
}

let boot: string | undefined;

/** Names this boot of the machine; empty if the kernel does not say. */
export function bootId(): string {
  boot ??= readOptional('/proc/sys/kernel/random/boot_id')?.trim() ?? '';
  return boot;
}

let namespace: string | undefined;

/** Inode number of this process's pid namespace; empty if the kernel does not say. */
function pidNamespace(): string {
  namespace ??= /\d+/.exec(linkTarget('/proc/self/ns/pid') ?? '')?.[0] ?? '';
  return namespace;
}

/** A new pid namespace in which /proc was not mounted again still shows the pids of the old one. */
function showsOwnNamespace(): boolean {
  return linkTarget('/proc/self') === String(process.pid);
}

/** Does an error of reading in /proc say that the process has ended? */
export function isGone(error: unknown): boolean {
  return ['ENOENT', 'ESRCH'].includes(systemCode(error) ?? '');
}

/**
 * The file's text; undefined only if the file does not exist. Other errors, such as too many open files, say nothing about the
 * process.
 */
function readOfProcess(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
}

function linkTarget(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

function readOptional(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
