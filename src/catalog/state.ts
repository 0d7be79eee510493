/**
 * state.db: what sregistry remembers about services and its cache, shared by every process on one cache directory. All of it
 * can be rebuilt except the journal of pushes, whose staged files lie beside it. So a damaged file is moved aside, and a new
 * one gets what can still be read of the journal.
 *
 * A check for damage reads the whole file, so it needs a reason: the file has changed since it was last checked or closed
 * (state-check.ts), the last check is a day old, or a statement met damage. Making, migrating and replacing the file happens
 * under a lock. Opening a sound file takes none.
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
import { LayerUses } from './layer-uses.ts';
import { KnownLayers } from './layers.ts';
import { Listings } from './listings.ts';
import { Owners } from './owners.ts';
import { Remotes } from './remotes.ts';
import { forgetCheck, isKnownSound, noteClosed, noteSound, revisionOf } from './state-check.ts';
import { STATE_MIGRATIONS } from './state-schema.ts';
import { TextIndex } from './text-index.ts';
import { Traces } from './traces.ts';

const debug = debugLog('catalog');

export interface StateOptions {
  /** Default `wal`, which is safe only if every process is on this machine; `delete` on a network file system. */
  readonly journalMode?: JournalMode;
}

export interface State {
  readonly db: Database;
  readonly layers: KnownLayers;
  readonly layerUses: LayerUses;
  readonly listings: Listings;
  readonly remotes: Remotes;
  readonly texts: TextIndex;
  readonly traces: Traces;
  readonly journal: Journal;
  readonly cacheIndex: CacheIndex;
  /** Tells which of the processes that share this database are alive. */
  readonly owners: Owners;
  /** Where the damaged state.db was moved that this one replaces, if any. */
  readonly movedAside: string | undefined;
  close(): void;
}

/** Milliseconds for which an absent name is remembered, whatever the caller's time to live. */
const ABSENT_KEPT = 24 * 60 * 60 * 1000;

/**
 * Milliseconds that a statement waits for another process's lock. The wait blocks the event loop of a mount. Transactions take
 * about a millisecond: with 8 processes that write without a pause on 2 cores, no wait took so long.
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
    layers: new KnownLayers(db),
    layerUses: new LayerUses(db),
    listings: new Listings(db),
    remotes,
    texts,
    traces: new Traces(db),
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

/** Removes old answers. A failure can wait until the catalog can be written. */
function forgetOld(remotes: Remotes): void {
  try {
    remotes.forgetAbsent(Date.now() - ABSENT_KEPT);
  } catch (error) {
    if (!isError(error, 'DATABASE', 'NO_SPACE')) throw error;
    debug('old answers could not be removed: %o', error);
  }
}

type Opened = Pick<State, 'db' | 'movedAside'>;

/** Undefined if the file has to be made, migrated or replaced first. */
function openIfSound(path: string, options: DatabaseOptions): Opened | undefined {
  try {
    const file = inodeOf(path);
    const db = openMigrated(path, options);
    if (db === undefined) return undefined;
    // Another process may have moved a damaged file between the opening of the file and of its log.
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
    bot.warning(`${describeError(error)}. It was moved to ${movedAside}, and a new one was made`);
    const db = openDatabase(path, options);
    salvageJournal(movedAside, db);
    return { db, movedAside };
  }
}

/** @throws {DamagedDatabaseError} when it is; it is closed then. */
function checked(path: string, db: Database): Database {
  try {
    if (isKnownSound(path)) return db;
    // The next check covers what is written meanwhile.
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

/**
 * Moves the database and its write-ahead log: a new database must not find the log, and the log may hold the newest records.
 */
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

/** Copies the pushes row by row up to the damage. Warns that the rest may be lost. */
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
