/**
 * Finds the processes that change an image in place, and whether they finished.
 *
 * The kernel closes the files of a killed process as it closes those of one that is done: both arrive as the same FLUSH. A new
 * image's own header tells what is missing, but an image updated in place looks whole at every moment. So this module looks up
 * in /proc which processes have such a file open when they begin to change it, and looks at them again when the file is
 * closed. Processes that cannot be seen (of another user, in another pid namespace) count as done.
 */
import { constants } from 'node:fs';
import { readdir, readFile, readlink } from 'node:fs/promises';
import { isGone } from '../base/process.ts';

/** A process, by its pid and the clock ticks from boot to its start. */
export interface Writer {
  readonly pid: number;
  readonly started: string;
}

/** The processes that have a path of the mount open for writing. */
export type FindWriters = (path: string) => Promise<Writer[]>;

/** proc(5), /proc/pid/stat, counted from the field behind the command's name: state, flags, starttime, exit_code. */
const FIELDS = { state: 0, flags: 6, started: 19, exitCode: 49 } as const;
/** The process is on its way out (PF_EXITING, include/linux/sched.h). */
const EXITING = 0x4;
/** Bits of an exit code that hold the signal (wait(2)). */
const SIGNAL = 0x7f;

/** Looks for processes that have `mountpoint` + path open for writing. This process is never among them. */
export function writersBelow(mountpoint: string): FindWriters {
  return async (path) => {
    const wanted = mountpoint + path;
    const pids = (await readdir('/proc')).filter(
      (name) => /^\d+$/.test(name) && Number(name) !== process.pid,
    );
    const found = await Promise.all(
      pids.map(async (pid) => ((await writesTo(pid, wanted)) ? writer(pid) : [])),
    );
    return found.flat();
  };
}

/**
 * Sorts `writers`: those that may still be at work, and whether one ended before it was done (killed, or never seen to end).
 */
export async function lookAfter(
  writers: readonly Writer[],
): Promise<{ left: readonly Writer[]; killed: boolean }> {
  const left: Writer[] = [];
  let killed = false;
  for (const each of writers) {
    const fields = await statOf(String(each.pid));
    if (fields === undefined || fields[FIELDS.started] !== each.started) killed = true;
    else if (!hasEnded(fields)) left.push(each);
    else if ((Number(fields[FIELDS.exitCode]) & SIGNAL) !== 0) killed = true;
  }
  return { left, killed };
}

function hasEnded(fields: readonly string[]): boolean {
  return ['Z', 'X'].includes(fields[FIELDS.state] ?? '') || (Number(fields[FIELDS.flags]) & EXITING) !== 0;
}

async function writesTo(pid: string, path: string): Promise<boolean> {
  const descriptors = await readdir(`/proc/${pid}/fd`).catch(() => []);
  const checks = descriptors.map(async (name) => {
    const target = await readlink(`/proc/${pid}/fd/${name}`).catch(() => '');
    return target === path && (await isForWriting(pid, name));
  });
  return (await Promise.all(checks)).includes(true);
}

/** `flags` of proc(5), /proc/pid/fdinfo: those of open(2), in octal. */
async function isForWriting(pid: string, descriptor: string): Promise<boolean> {
  const info = await readFile(`/proc/${pid}/fdinfo/${descriptor}`, 'utf8').catch(() => '');
  const flags = Number.parseInt(/^flags:\s*([0-7]+)$/m.exec(info)?.[1] ?? '0', 8);
  return (flags & (constants.O_WRONLY | constants.O_RDWR)) !== 0;
}

async function writer(pid: string): Promise<Writer[]> {
  const started = (await statOf(pid))?.[FIELDS.started];
  return started === undefined ? [] : [{ pid: Number(pid), started }];
}

async function statOf(pid: string): Promise<string[] | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch((error: unknown) => {
    if (isGone(error)) return undefined;
    throw error;
  });
  // The command's name stands in parentheses and may itself hold spaces and parentheses.
  return stat?.slice(stat.lastIndexOf(')') + 2).split(' ');
}
