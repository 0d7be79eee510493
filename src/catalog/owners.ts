/**
 * Tells which of the processes that share a state database are alive, also in other pid namespaces.
 *
 * Each process holds a lock on a file of its own, `owners/<pid>-<hash of its start time>` beside the database, from opening the
 * database until the process ends. /proc answers for processes of the same pid namespace. For another namespace (a container
 * that uses the same cache) the lock answers: if it can be taken, its holder has died. The lock is SQLite's own on an empty
 * file, a kernel lock that reaches across namespaces and ends with its holder.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { liveness, type ProcessId } from '../base/process.ts';
import { guarded } from './database-error.ts';

/** Tells whether the owner of a record is alive. */
export type IsAlive = (process: ProcessId) => boolean;

/** Milliseconds to wait while another process tests whether it can take this one's lock. */
const LOOK_TIMEOUT = 1_000;

/** Nothing is ever written, so no journal has to lie beside the file. */
const LOCK = 'PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE';

interface Held {
  readonly lock: Sqlite.Database;
  users: number;
}

/** Locks of this process by file: two databases opened on one folder share the lock. */
const held = new Map<string, Held>();

export class Owners {
  readonly #folder: string;
  readonly #file: string;

  /**
   * Shows in `folder` that this process is alive.
   *
   * @throws {SregistryError} DATABASE or NO_SPACE if the lock cannot be made.
   */
  constructor(folder: string, self: ProcessId) {
    this.#folder = folder;
    this.#file = join(folder, lockName(self));
    const known = held.get(this.#file);
    if (known === undefined) held.set(this.#file, { lock: takeLock(folder, this.#file), users: 1 });
    else known.users += 1;
  }

  readonly isAlive: IsAlive = (process) => {
    const seen = liveness(process);
    if (seen !== 'elsewhere') return seen === 'alive';
    const file = join(this.#folder, lockName(process));
    return held.has(file) || !isFree(file);
  };

  /** Removes the lock files of dead processes. Returns how many. */
  sweep(): number {
    const dead = readdirSync(this.#folder)
      .map((name) => join(this.#folder, name))
      .filter((file) => !held.has(file) && removeIfFree(file));
    return dead.length;
  }

  close(): void {
    const lock = held.get(this.#file);
    if (lock === undefined) return;
    lock.users -= 1;
    if (lock.users > 0) return;
    held.delete(this.#file);
    rmSync(this.#file, { force: true });
    lock.lock.close();
  }
}

function lockName({ pid, startTime }: ProcessId): string {
  return `${pid}-${createHash('sha256').update(startTime).digest('hex').slice(0, 16)}`;
}

/**
 * Makes the lock file and locks it. Before it is locked, a sweep may take it for a dead process's and remove it; then makes it
 * again.
 */
function takeLock(folder: string, file: string): Sqlite.Database {
  return guarded(file, () => {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    for (;;) {
      const lock = new Sqlite(file, { timeout: LOOK_TIMEOUT });
      lock.exec(LOCK);
      if (existsSync(file)) return lock;
      lock.close();
    }
  })();
}

/** Is the lock free? Then its holder has died, or has removed the file when it ended. */
function isFree(file: string): boolean {
  return withFreeLock(file, () => {});
}

function removeIfFree(file: string): boolean {
  return withFreeLock(file, () => rmSync(file, { force: true }));
}

/** Runs `body` with the lock taken. Returns false if another process holds it. */
function withFreeLock(file: string, body: () => void): boolean {
  if (!existsSync(file)) return true;
  let lock: Sqlite.Database | undefined;
  try {
    lock = new Sqlite(file, { timeout: 0, fileMustExist: true });
    lock.exec(LOCK);
    body();
    return true;
  } catch {
    // Held; or removed between the look and the opening.
    return !existsSync(file);
  } finally {
    lock?.close();
  }
}
