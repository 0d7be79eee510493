/**
 * Opens a SQLite file: makes its folder, sets its journal, and brings its schema up to date. Every later failure of a
 * statement or transaction is an error that names the file.
 *
 * The schema's version is `PRAGMA user_version`: the number of migrations that were applied. They run in one exclusive
 * transaction, so of several processes that open an old file at once, one migrates it.
 *
 * A database holds names of private images, so only its owner may read its file. SQLite gives the log and the journal the same
 * mode.
 */
import { existsSync, lstatSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import Sqlite from 'better-sqlite3';
import { SregistryError, systemCode } from '../base/errors.ts';
import { ensurePrivateFile, ensurePrivateFolder, tightenFile } from '../base/private.ts';
import { DamagedDatabaseError, guarded } from './database-error.ts';

export type Database = Sqlite.Database;

/** `wal`: readers and a writer at once, one machine only. `delete`: also safe on a network file system with locks. */
export type JournalMode = 'wal' | 'delete';

/**
 * Who may read a database: `owner` alone, in a folder that must be the user's own; or everybody its `folder` is for, which is
 * the owner alone as well unless the folder is a group's (it is writable by the group or passes its group on).
 */
export type Audience = 'owner' | 'folder';

export interface DatabaseOptions {
  /** SQL scripts in the order they are applied. Append only: a script that was released is never changed. */
  readonly migrations: readonly string[];
  /** Default `delete`. */
  readonly journalMode?: JournalMode;
  /** Default `folder`. */
  readonly audience?: Audience;
  /** Open an existing file and never change it, not even its schema. */
  readonly readonly?: boolean;
  /**
   * Milliseconds that a statement waits for another process's lock, which blocks the event loop. Default 5,000, for a database
   * on a network file system.
   */
  readonly busyTimeout?: number;
  /** Called when a statement finds the file damaged, before it throws. */
  readonly onDamage?: (() => void) | undefined;
}

const BUSY_TIMEOUT = 5_000;
/** Files that SQLite keeps beside a database. */
export const COMPANIONS = ['-wal', '-shm', '-journal'];

/**
 * Statements and transactions of this handle throw SregistryErrors. Its methods return `never` to be assignable to the
 * generic ones they override, whose types stay those of better-sqlite3.
 */
class GuardedDatabase extends Sqlite {
  onDamage: (() => void) | undefined;
  readonly #timeout: number;
  #mayWait = true;

  constructor(path: string, options: Sqlite.Options & { timeout: number }) {
    super(path, options);
    this.#timeout = options.timeout;
  }

  override prepare(source: string): never {
    const statement = super.prepare(source);
    const { run, get, all } = statement;
    statement.run = this.#guarded(this.#writing(run.bind(statement)));
    statement.get = this.#guarded(get.bind(statement));
    statement.all = this.#guarded(all.bind(statement));
    return statement as never;
  }

  override transaction(body: (...args: unknown[]) => unknown): never {
    const run = super.transaction(body);
    const { deferred, immediate, exclusive } = run;
    return Object.assign(this.#guarded(run), {
      default: this.#guarded(run),
      deferred: this.#guarded(deferred),
      immediate: this.#guarded(this.#writing(immediate)),
      exclusive: this.#guarded(this.#writing(exclusive)),
    }) as never;
  }

  /**
   * After a write has waited for a lock in vain, writes do not wait until one succeeds: the holder may be a stopped process,
   * and every wait blocks the event loop.
   */
  #writing<A extends unknown[], R>(act: (...args: A) => R): (...args: A) => R {
    return (...args) => {
      try {
        const result = act(...args);
        if (!this.#mayWait) this.#setMayWait(true);
        return result;
      } catch (error) {
        if (this.#mayWait && /^SQLITE_BUSY/.test(systemCode(error) ?? '')) this.#setMayWait(false);
        throw error;
      }
    };
  }

  #setMayWait(mayWait: boolean): void {
    this.#mayWait = mayWait;
    this.pragma(`busy_timeout = ${mayWait ? this.#timeout : 0}`);
  }

  #guarded<A extends unknown[], R>(act: (...args: A) => R): (...args: A) => R {
    const run = guarded(this.name, act);
    return (...args) => {
      try {
        return run(...args);
      } catch (error) {
        if (error instanceof DamagedDatabaseError) this.onDamage?.();
        throw error;
      }
    };
  }
}

/**
 * Opens or creates the database at `path`, an absolute path; a missing folder is made, readable by its owner only.
 *
 * @throws {SregistryError} DATABASE when it is damaged, locked, not accessible or of a newer version.
 */
export function openDatabase(path: string, options: DatabaseOptions): Database {
  const { readonly = false } = options;
  if (!readonly) protect(path, options.audience);
  return connect(path, options, (db) => configure(db, options));
}

/**
 * Opens the database at `path` if it exists and has the newest schema; else returns undefined and changes nothing.
 *
 * @throws {SregistryError} as {@link openDatabase}.
 */
export function openMigrated(path: string, options: DatabaseOptions): Database | undefined {
  if (!existsSync(path)) return undefined;
  protect(path, options.audience);
  const isNewest = (db: Database) => schemaVersion(db) >= options.migrations.length;
  const db = connect(path, options, (opened) => {
    if (isNewest(opened)) configure(opened, options);
  });
  if (isNewest(db)) return db;
  db.close();
  return undefined;
}

function connect(path: string, options: DatabaseOptions, prepare: (db: Database) => void): Database {
  const { readonly = false, busyTimeout = BUSY_TIMEOUT, onDamage } = options;
  return guarded(path, () => {
    const db = new GuardedDatabase(path, { readonly, fileMustExist: readonly, timeout: busyTimeout });
    db.onDamage = onDamage;
    try {
      prepare(db);
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

/** Makes the file's folder and the file if they are missing, and keeps other users from reading the file. */
function protect(path: string, audience: Audience = 'folder'): void {
  const folder = dirname(path);
  try {
    if (audience === 'owner' || !existsSync(folder)) ensurePrivateFolder(folder);
    if (audience === 'folder' && isOfOthers(path)) return;
    ensurePrivateFile(path);
    if (audience === 'owner') for (const suffix of COMPANIONS) tightenFile(path + suffix);
  } catch (error) {
    if (error instanceof SregistryError) throw error;
    throw new SregistryError('DATABASE', `Cannot make the database ${path}`, {
      hint: 'Check the permissions of its folder and of the one above it, or choose another one',
      cause: error,
    });
  }
}

/** Does the folder belong to a group, or is the file another user's, or a link to a place that the user has chosen? */
function isOfOthers(path: string): boolean {
  if ((statSync(dirname(path)).mode & 0o2020) !== 0) return true;
  const stats = lstatSync(path, { throwIfNoEntry: false });
  return stats !== undefined && (!stats.isFile() || stats.uid !== process.geteuid?.());
}

/**
 * Runs `body` while no other process runs one under the same lock file. The lock is SQLite's own on an empty file: the
 * system frees it when its holder dies.
 *
 * @throws {SregistryError} DATABASE when another process holds it for longer than the busy timeout.
 */
export function withLock<T>(lockFile: string, body: () => T): T {
  protect(lockFile, 'owner');
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
