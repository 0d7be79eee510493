/**
 * Decides when to check a database for damage. `<database>.sound` holds the revision (size, time, inode) of the file when it
 * was last found sound or closed, and the time of the last check. If the file has another revision, a process changed it and
 * did not close it, or another program changed it. Losing this note costs one check.
 */
import { readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileRevision, temporaryName } from '../base/files.ts';

/** Milliseconds after which a file is checked again in any case: disks rot. */
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

/** Has the file its noted revision, and was it checked within a day? */
export function isKnownSound(path: string): boolean {
  const note = read(path);
  if (note === undefined || note.revision !== revisionOf(path)) return false;
  const age = Date.now() - note.checked;
  return age >= 0 && age < CHECK_EVERY;
}

/** Notes that a check of this revision found no damage. */
export function noteSound(path: string, revision: string | undefined): void {
  if (revision !== undefined) write(path, { revision, checked: Date.now() });
}

/** Notes the present revision as written by this program, when the database is closed. */
export function noteClosed(path: string): void {
  const note = read(path);
  const revision = revisionOf(path);
  if (note !== undefined && revision !== undefined && revision !== note.revision)
    write(path, { ...note, revision });
}

/** Makes the next process that opens the database check it. */
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

/** Writes the note. A full or read-only file system is not an error. */
function write(path: string, note: Note): void {
  const temporary = join(dirname(path), temporaryName());
  try {
    writeFileSync(temporary, JSON.stringify(note), { mode: 0o600, flag: 'wx' });
    renameSync(temporary, noteOf(path));
  } catch {
    rmSync(temporary, { force: true });
  }
}
