/**
 * state.db: what sregistry remembers about services and its cache, shared by every process on one cache directory.
 * All of it can be made again except the journal of pushes, whose staged files lie beside it. So a damaged file is
 * moved aside, and a new one is made with what can still be read of the journal.
 *
 * Looking for damage reads the whole file, so it is done where there is a reason: the file is not as it was when it was last
 * checked or closed (state-check.ts), the last check is a day old, or a statement met damage. Making, migrating and replacing
 * the file happens under a lock; opening one that is sound takes none.
 */
import { renameSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describeError, isError, systemCode } from '../base/errors.ts';
import { ownProcess, type ProcessId } from '../base/process.ts';
import { bot, debugLog } from '../log/index.ts';
import { CacheIndex } from './cache-index.ts';
import {
  COMPANIONS,
  type Database,
  type DatabaseOptions,
  type JournalMode,
  openDatabase,
  openMigrated,
  quickCheck,
  withLock,
} from './database.ts';
import { DamagedDatabaseError } from './database-error.ts';
import { Journal } from './journal.ts';
import { Listings } from './listings.ts';
import { Owners } from './owners.ts';
import { Remotes } from './remotes.ts';
import { forgetCheck, isKnownSound, noteClosed, noteSound, revisionOf } from './state-check.ts';
import { STATE_MIGRATIONS } from './state-schema.ts';
import { TextIndex } from './text-index.ts';

const debug = debugLog('catalog');

export interface StateOptions {
  /** Default `wal`, which is only safe where every process is on this machine; `delete` on a network file system. */
  readonly journalMode?: JournalMode;
}

export interface State {
  readonly db: Database;
  readonly listings: Listings;
  readonly remotes: Remotes;
  readonly texts: TextIndex;
  readonly journal: Journal;
  readonly cacheIndex: CacheIndex;
  /** Tells which processes that share this database live. */
  readonly owners: Owners;
  /** Where a damaged state.db was moved when this one was opened. */
  readonly movedAside: string | undefined;
  close(): void;
}

/** Milliseconds for which it is worth remembering that a name was absent, whatever the caller's time to live. */
const ABSENT_KEPT = 24 * 60 * 60 * 1000;

/**
 * Milliseconds that a statement waits for another process's lock. The event loop of a mount waits with it. Transactions take
 * about a millisecond: of 8 processes that write without a pause on 2 cores, none waited in vain for so long.
 */
const BUSY_TIMEOUT = 1_000;

/** @throws {SregistryError} DATABASE when it is locked, not accessible or of a newer version. */
export function openState(cacheDir: string, options: StateOptions = {}): State {
  const path = join(cacheDir, 'state.db');
  const database: DatabaseOptions = {
    migrations: STATE_MIGRATIONS,
    journalMode: options.journalMode ?? 'wal',
    audience: 'owner',
    busyTimeout: BUSY_TIMEOUT,
    onDamage: () => forgetCheck(path),
  };
  const { db, movedAside } =
    openIfSound(path, database) ?? withLock(`${path}.lock`, () => openOrReplace(path, database));
  const self = ownProcess();
  const owners = ownersOf(cacheDir, self, db);
  const texts = new TextIndex(db);
  const remotes = new Remotes(db, texts);
  forgetOld(remotes);
  const cacheIndex = new CacheIndex(db, self, owners.isAlive);
  return {
    db,
    listings: new Listings(db),
    remotes,
    texts,
    journal: new Journal(db, owners.isAlive),
    cacheIndex,
    owners,
    movedAside,
    close: () => {
      if (!db.open) return;
      cacheIndex.close();
      db.close();
      owners.close();
      noteClosed(path);
    },
  };
}

function ownersOf(cacheDir: string, self: ProcessId, db: Database): Owners {
  try {
    const owners = new Owners(join(cacheDir, 'owners'), self);
    owners.sweep();
    return owners;
  } catch (error) {
    db.close();
    throw error;
  }
}

/** Housekeeping, which can wait until the catalog can be written. */
function forgetOld(remotes: Remotes): void {
  try {
    remotes.forgetAbsent(Date.now() - ABSENT_KEPT);
  } catch (error) {
    if (!isError(error, 'DATABASE', 'NO_SPACE')) throw error;
    debug('old answers stay: %o', error);
  }
}

type Opened = Pick<State, 'db' | 'movedAside'>;

/** Undefined if the file has to be made, migrated or replaced first. */
function openIfSound(path: string, options: DatabaseOptions): Opened | undefined {
  try {
    const file = inodeOf(path);
    const db = openMigrated(path, options);
    if (db === undefined) return undefined;
    // A process that replaces a damaged file may have moved it between the opening of the file and of its log.
    if (inodeOf(path) === file) return { db: checked(path, db), movedAside: undefined };
    db.close();
    return undefined;
  } catch (error) {
    if (error instanceof DamagedDatabaseError) return undefined;
    throw error;
  }
}

function inodeOf(path: string): bigint | undefined {
  return statSync(path, { bigint: true, throwIfNoEntry: false })?.ino;
}

function openOrReplace(path: string, options: DatabaseOptions): Opened {
  try {
    return { db: checked(path, openDatabase(path, options)), movedAside: undefined };
  } catch (error) {
    if (!(error instanceof DamagedDatabaseError)) throw error;
    const movedAside = moveAside(path);
    bot.warning(`${describeError(error)}. It was moved to ${movedAside} and a new one made`);
    const db = openDatabase(path, options);
    salvageJournal(movedAside, db);
    return { db, movedAside };
  }
}

/** @throws {DamagedDatabaseError} when it is; it is closed then. */
function checked(path: string, db: Database): Database {
  try {
    if (isKnownSound(path)) return db;
    // What is written meanwhile is for the next check.
    const revision = revisionOf(path);
    const fault = quickCheck(db);
    if (fault !== undefined) throw new DamagedDatabaseError(path, fault);
    noteSound(path, revision);
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/** The write-ahead log goes with its database: a new one must not find it, and it may hold the newest records. */
function moveAside(path: string): string {
  const aside = `${path}.damaged-${new Date().toISOString().replaceAll(':', '-')}`;
  for (const suffix of ['', ...COMPANIONS]) {
    try {
      renameSync(path + suffix, aside + suffix);
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw error;
    }
  }
  return aside;
}

/** Copies what can be read of the pushes, row by row up to the damage; the rest is lost, and said. */
function salvageJournal(damaged: string, db: Database): void {
  try {
    const old = openDatabase(damaged, { migrations: STATE_MIGRATIONS, readonly: true });
    try {
      for (const row of old.prepare<[], Record<string, unknown>>('SELECT * FROM pushes').iterate()) {
        const columns = Object.keys(row);
        const values = columns.map((column) => `@${column}`);
        db.prepare(`INSERT INTO pushes (${columns.join()}) VALUES (${values.join()})`).run(row);
      }
    } finally {
      old.close();
    }
  } catch (error) {
    bot.warning(`Pushes that were pending in ${damaged} may be lost: ${describeError(error)}`);
  }
}
