/**
 * Which process owns something that outlives it: a pid alone is reused, a pid with its start time is not. Read from
 * Linux's /proc; a process in another pid namespace looks dead from here.
 */
import { readFileSync } from 'node:fs';

export interface ProcessId {
  readonly pid: number;
  /** Opaque, equal for one process only: the machine's boot id and the clock ticks from boot to its start. */
  readonly startTime: string;
}

/** proc(5): state is field 3 and starttime field 22; counted from the field after the command's name, field 2. */
const STATE = 0;
const START_TIME = 19;

/** The start time of a living process, or undefined where there is none: gone, or a zombie. */
export function processStartTime(pid: number): string | undefined {
  const stat = readOptional(`/proc/${pid}/stat`);
  if (stat === undefined) return undefined;
  // The command's name stands in parentheses and may itself hold spaces and parentheses.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const state = fields[STATE];
  if (state === 'Z' || state === 'X') return undefined;
  return `${bootId()}:${fields[START_TIME]}`;
}

export function isAlive(process: ProcessId): boolean {
  return processStartTime(process.pid) === process.startTime;
}

let own: ProcessId | undefined;

/** This process. */
export function ownProcess(): ProcessId {
  own ??= { pid: process.pid, startTime: processStartTime(process.pid) ?? '' };
  return own;
}

let boot: string | undefined;

/** Names this boot of the machine; empty where the kernel does not say. */
export function bootId(): string {
  boot ??= readOptional('/proc/sys/kernel/random/boot_id')?.trim() ?? '';
  return boot;
}

function readOptional(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
