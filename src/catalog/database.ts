/**
 * Opening a SQLite file: its folder, its journal, its schema brought up to date, and every later failure of a
 * statement or transaction told as an error that names the file.
 *
 * The schema's version is `PRAGMA user_version`: the number of migrations that were applied. They run in one exclusive
 * transaction, so of several processes that open an old file at once, one migrates it.
 */
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import Sqlite from 'better-sqlite3';
import { SregistryError } from '../base/errors.ts';
import { guarded } from './database-error.ts';

export type Database = Sqlite.Database;

/** `wal`: readers and a writer at once, one machine only. `delete`: also safe on a network file system with locks. */
export type JournalMode = 'wal' | 'delete';

export interface DatabaseOptions {
  /** SQL scripts in the order they are applied. Append only: a script that was released is never changed. */
  readonly migrations: readonly string[];
  /** Default `delete`. */
  readonly journalMode?: JournalMode;
  /** Open an existing file and never change it, not even its schema. */
  readonly readonly?: boolean;
}

/** Milliseconds a statement waits for another process's lock. Node waits with it, so it is short. */
const BUSY_TIMEOUT = 5_000;

/**
 * Statements and transactions of this handle throw SregistryErrors. Its methods return `never` to be assignable to the
 * generic ones they override, whose types stay those of better-sqlite3.
 */
class GuardedDatabase extends Sqlite {
  override prepare(source: string): never {
    const statement = super.prepare(source);
    const { run, get, all } = statement;
    statement.run = guarded(this.name, run.bind(statement));
    statement.get = guarded(this.name, get.bind(statement));
    statement.all = guarded(this.name, all.bind(statement));
    return statement as never;
  }

  override transaction(body: (...args: unknown[]) => unknown): never {
    const run = super.transaction(body);
    const { deferred, immediate, exclusive } = run;
    return Object.assign(guarded(this.name, run), {
      default: guarded(this.name, run),
      deferred: guarded(this.name, deferred),
      immediate: guarded(this.name, immediate),
      exclusive: guarded(this.name, exclusive),
    }) as never;
  }
}

/**
 * Opens or creates the database at `path`, an absolute path; a missing folder is made, readable by its owner only.
 *
 * @throws {SregistryError} DATABASE when it is damaged, locked, not accessible or of a newer version.
 */
export function openDatabase(path: string, options: DatabaseOptions): Database {
  const readonly = options.readonly ?? false;
  if (!readonly) makeFolder(path);
  return guarded(path, () => {
    const db: Database = new GuardedDatabase(path, {
      readonly,
      fileMustExist: readonly,
      timeout: BUSY_TIMEOUT,
    });
    try {
      configure(db, options);
      return db;
    } catch (error) {
      db.close();
      throw error;
    }
  })();
}

function configure(db: Database, options: DatabaseOptions): void {
  const { migrations, journalMode = 'delete', readonly = false } = options;
  const known = migrations.length;
  const version = schemaVersion(db);
  if (version > known) throw tooNew(db.name, version, known);
  if (readonly) return;
  db.pragma('foreign_keys = ON');
  db.pragma(`journal_mode = ${journalMode}`);
  // With a write-ahead log a power cut may lose the last transactions but never damages the file.
  db.pragma(`synchronous = ${journalMode === 'wal' ? 'NORMAL' : 'FULL'}`);
  if (version < known) migrate(db, migrations);
}

function migrate(db: Database, migrations: readonly string[]): void {
  db.transaction(() => {
    const done = schemaVersion(db);
    if (done > migrations.length) throw tooNew(db.name, done, migrations.length);
    for (const script of migrations.slice(done)) db.exec(script);
    db.pragma(`user_version = ${migrations.length}`);
  }).exclusive();
}

function schemaVersion(db: Database): number {
  return db.pragma('user_version', { simple: true }) as number;
}

function tooNew(path: string, version: number, known: number): SregistryError {
  return new SregistryError(
    'DATABASE',
    `The database ${path} was made by a newer sregistry: its schema has version ${version}, this one knows ${known}`,
    { hint: 'Update sregistry, or use another folder for its databases' },
  );
}

function makeFolder(path: string): void {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new SregistryError('DATABASE', `Cannot make the folder of the database ${path}`, {
      hint: 'Check the permissions of the folder above it, or choose another one',
      cause: error,
    });
  }
}

/**
 * Runs `body` while no other process runs one under the same lock file. The lock is SQLite's own on an empty file: the
 * system frees it when its holder dies.
 *
 * @throws {SregistryError} DATABASE when another process holds it for longer than the busy timeout.
 */
export function withLock<T>(lockFile: string, body: () => T): T {
  makeFolder(lockFile);
  const lock = guarded(lockFile, () => new Sqlite(lockFile, { timeout: BUSY_TIMEOUT }))();
  try {
    guarded(lockFile, () => lock.exec('BEGIN EXCLUSIVE'))();
    return body();
  } finally {
    lock.close();
  }
}

/** What is wrong with the structure of the file, as far as SQLite can tell without comparing the indexes. */
export function quickCheck(db: Database): string | undefined {
  const result = guarded(db.name, () => db.pragma('quick_check(1)', { simple: true }))() as string;
  return result === 'ok' ? undefined : (result.split('\n').at(-1) as string);
}
