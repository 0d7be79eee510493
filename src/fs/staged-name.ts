/** Names of files in the staging folder: each says which process made it, so that the files of dead ones are told apart. */
import { randomUUID } from 'node:crypto';
import { ownProcess, type ProcessId } from '../base/process.ts';

/** In neither part of a process's identity, nor in a UUID. */
const SEPARATOR = '~';

export function newStagedName({ pid, startTime }: ProcessId = ownProcess()): string {
  return [pid, startTime.replaceAll(':', SEPARATOR), randomUUID()].join(SEPARATOR);
}

/** Is it a name that {@link newStagedName} gives? */
export function isStagedName(name: string): boolean {
  return name.includes(SEPARATOR);
}

/** The process that made the file. A name that is none of ours gives one that lives nowhere. */
export function ownerOf(name: string): ProcessId {
  const [pid = '', ...rest] = name.split(SEPARATOR);
  return { pid: Number.parseInt(pid, 10) || 0, startTime: rest.slice(0, -1).join(':') };
}
