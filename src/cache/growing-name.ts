/** Names of growing files, by which others tell whose they are after a crash. */
import { randomUUID } from 'node:crypto';

/** Between the key and what makes a name unique; no key has it. */
const SEPARATOR = '~';

/** A new name for the file of a key. */
export function growingName(key: string): string {
  return `${key}${SEPARATOR}${randomUUID()}.data`;
}

/** The key of a growing file; undefined for any other name. */
export function keyOfGrowing(name: string): string | undefined {
  const end = name.indexOf(SEPARATOR);
  return end < 0 ? undefined : name.slice(0, end);
}

/** What the process that makes the file of a key has claimed, from before the file is there until after it is gone. */
export function turnOf(key: string): string {
  return `${key} turn`;
}
