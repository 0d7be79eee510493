/** Turns SQLite's errors into errors for people: which file, what is wrong with it, what to do. */
import Sqlite from 'better-sqlite3';
import { SregistryError } from '../base/errors.ts';

/** The file is not a database, or no longer one. */
export class DamagedDatabaseError extends SregistryError {
  constructor(path: string, why: string, cause?: unknown) {
    super('DATABASE', `The database ${path} is damaged: ${why}`, {
      cause,
      hint: 'Move the file away, so that a new one is made, or put a backup in its place',
    });
  }
}

interface Reason {
  readonly why: string;
  readonly hint: string;
}

/** By primary result code (https://www.sqlite.org/rescode.html). */
const REASONS: Readonly<Record<string, Reason>> = {
  BUSY: { why: 'another program keeps it locked', hint: 'Try again when that program is done' },
  LOCKED: { why: 'it is locked', hint: 'Try again' },
  CANTOPEN: {
    why: 'it cannot be opened or created',
    hint: 'Check that the folder exists and that you may read and write it',
  },
  READONLY: {
    why: 'it cannot be written',
    hint: 'Check the permissions of the file and of its folder, and that the file system is not read-only',
  },
  PERM: { why: 'access is denied', hint: 'Check the permissions of the file' },
  IOERR: { why: 'its file system failed', hint: 'Check the disk, or the network file system, that holds it' },
  PROTOCOL: {
    why: 'its file system has no working locks',
    hint: 'Keep it on a local disk or on a file system with locks',
  },
};

/** The SregistryError for an error of SQLite; any other error unchanged. */
export function databaseError(path: string, error: unknown): unknown {
  if (!(error instanceof Sqlite.SqliteError)) return error;
  const code = /^SQLITE_([A-Z]+)/.exec(error.code)?.[1] ?? '';
  if (code === 'NOTADB' || code === 'CORRUPT') return new DamagedDatabaseError(path, error.message, error);
  if (code === 'FULL') {
    return new SregistryError('NO_SPACE', `No space is left for the database ${path}`, { cause: error });
  }
  const reason = REASONS[code];
  if (reason === undefined) {
    return new SregistryError('DATABASE', `The database ${path} refused: ${error.message}`, { cause: error });
  }
  return new SregistryError('DATABASE', `Cannot use the database ${path}: ${reason.why}`, {
    hint: reason.hint,
    cause: error,
  });
}

/** Runs `act`. Converts what it throws with {@link databaseError}. */
export function guarded<A extends unknown[], R>(path: string, act: (...args: A) => R): (...args: A) => R {
  return (...args) => {
    try {
      return act(...args);
    } catch (error) {
      throw databaseError(path, error);
    }
  };
}
