/**
 * Decides when a database has to be checked for damage. `<database>.sound` holds the revision (size, time, inode) that the file
 * had when it was last found sound or closed, and the time of the last check. A file of another revision was changed by a
 * process that did not close it, or by another program. Losing this note costs a check.
 */
import { readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileRevision, temporaryName } from '../base/files.ts';

/** Milliseconds after which a file is looked through again, whatever is known of it: disks rot. */
const CHECK_EVERY = 24 * 60 * 60 * 1000;

interface Note {
  readonly revision: string;
  /** Milliseconds since the epoch. */
  readonly checked: number;
}

const noteOf = (path: string) => `${path}.sound`;

/** Undefined if there is no such file. */
export function revisionOf(path: string): string | undefined {
  const stats = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stats && fileRevision(stats);
}

/** Is the file as it was left, and was it looked through within a day? */
export function isKnownSound(path: string): boolean {
  const note = read(path);
  if (note === undefined || note.revision !== revisionOf(path)) return false;
  const age = Date.now() - note.checked;
  return age >= 0 && age < CHECK_EVERY;
}

/** It was looked through when it had this revision, and nothing was found. */
export function noteSound(path: string, revision: string | undefined): void {
  if (revision !== undefined) write(path, { revision, checked: Date.now() });
}

/** It was closed: what it is now was written by this program. */
export function noteClosed(path: string): void {
  const note = read(path);
  const revision = revisionOf(path);
  if (note !== undefined && revision !== undefined && revision !== note.revision)
    write(path, { ...note, revision });
}

/** The next process that opens it looks it through. */
export function forgetCheck(path: string): void {
  rmSync(noteOf(path), { force: true });
}

function read(path: string): Note | undefined {
  try {
    const { revision, checked } = JSON.parse(readFileSync(noteOf(path), 'utf8'));
    return typeof revision === 'string' && typeof checked === 'number' ? { revision, checked } : undefined;
  } catch {
    return undefined;
  }
}

/** A file system that is full or read-only keeps no note. */
function write(path: string, note: Note): void {
  const temporary = join(dirname(path), temporaryName());
  try {
    writeFileSync(temporary, JSON.stringify(note), { mode: 0o600, flag: 'wx' });
    renameSync(temporary, noteOf(path));
  } catch {
    rmSync(temporary, { force: true });
  }
}
