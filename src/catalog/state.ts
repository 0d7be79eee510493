/**
 * state.db: what sregistry remembers about services and its cache, shared by every process on one cache directory.
 * All of it can be made again except the journal of pushes, whose staged files lie beside it. A damaged file is
 * therefore moved aside and a new one made, with what can still be read of the journal.
 */
import { renameSync } from 'node:fs';
import { join } from 'node:path';
import { describeError, systemCode } from '../base/errors.ts';
import { ownProcess, type ProcessId } from '../base/process.ts';
import { bot } from '../log/index.ts';
import { CacheIndex } from './cache-index.ts';
import { type Database, type JournalMode, openDatabase, quickCheck, withLock } from './database.ts';
import { DamagedDatabaseError } from './database-error.ts';
import { Journal } from './journal.ts';
import { Listings } from './listings.ts';
import { Owners } from './owners.ts';
import { Remotes } from './remotes.ts';
import { STATE_MIGRATIONS } from './state-schema.ts';
import { TextIndex } from './text-index.ts';

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

/** @throws {SregistryError} DATABASE when it is locked, not accessible or of a newer version. */
export function openState(cacheDir: string, options: StateOptions = {}): State {
  const path = join(cacheDir, 'state.db');
  const self = ownProcess();
  const { db, movedAside, owners } = withLock(`${path}.lock`, () => {
    const opened = openOrReplace(path, options);
    return { ...opened, owners: ownersOf(cacheDir, self, opened.db) };
  });
  const texts = new TextIndex(db);
  const remotes = new Remotes(db, texts);
  remotes.forgetAbsent(Date.now() - ABSENT_KEPT);
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
      cacheIndex.close();
      db.close();
      owners.close();
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

function openOrReplace(path: string, options: StateOptions): Pick<State, 'db' | 'movedAside'> {
  try {
    return { db: openSound(path, options), movedAside: undefined };
  } catch (error) {
    if (!(error instanceof DamagedDatabaseError)) throw error;
    const movedAside = moveAside(path);
    bot.warning(`${describeError(error)}. It was moved to ${movedAside} and a new one made`);
    const db = openSound(path, options);
    salvageJournal(movedAside, db);
    return { db, movedAside };
  }
}

function openSound(path: string, options: StateOptions): Database {
  const db = openDatabase(path, {
    migrations: STATE_MIGRATIONS,
    journalMode: options.journalMode ?? 'wal',
  });
  const fault = quickCheck(db);
  if (fault === undefined) return db;
  db.close();
  throw new DamagedDatabaseError(path, fault);
}

/** The write-ahead log goes with its database: a new one must not find it, and it may hold the newest records. */
function moveAside(path: string): string {
  const aside = `${path}.damaged-${new Date().toISOString().replaceAll(':', '-')}`;
  for (const suffix of ['', '-wal', '-shm', '-journal']) {
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
