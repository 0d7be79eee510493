/** Names of files in the staging folder. Each names the process that made it, so that files of dead processes can be found. */
import { randomUUID } from 'node:crypto';
import { ownProcess, type ProcessId } from '../base/process.ts';

/** Occurs neither in the parts of a process's identity nor in a UUID. */
const SEPARATOR = '~';

export function newStagedName({ pid, startTime }: ProcessId = ownProcess()): string {
  return [pid, startTime.replaceAll(':', SEPARATOR), randomUUID()].join(SEPARATOR);
}

/** Is it a name that {@link newStagedName} gives? */
export function isStagedName(name: string): boolean {
  return name.includes(SEPARATOR);
}

/** The process that made the file. For any other name, a process that does not exist. */
export function ownerOf(name: string): ProcessId {
  const [pid = '', ...rest] = name.split(SEPARATOR);
  return { pid: Number.parseInt(pid, 10) || 0, startTime: rest.slice(0, -1).join(':') };
}
