/**
 * How the modules of the cache's index write: each change in one short transaction, now or with a later heartbeat. Ending an
 * opening or a claim must not fail, so while the database is busy or full, it is deferred.
 */
import type { Database } from 'better-sqlite3';
import { isError } from '../base/errors.ts';
import { type Deferred, Heartbeat } from './heartbeat.ts';

export class CacheTransactions {
  /** Called with each heartbeat; false if no further one is needed. */
  onBeat: () => boolean = () => false;
  readonly #db: Database;
  readonly #heartbeat: Heartbeat;

  constructor(db: Database) {
    this.#db = db;
    this.#heartbeat = new Heartbeat((deferred) => this.#beat(deferred));
  }

  /** Runs `body` as one transaction that excludes every other writer, of any process. */
  exclusive<T>(body: () => T): T {
    return this.#db.transaction(body).immediate();
  }

  /** Runs `body` now, or with a later heartbeat if the database is busy or full. */
  soon(body: Deferred): void {
    try {
      body();
    } catch (error) {
      if (!isError(error, 'DATABASE', 'NO_SPACE')) throw error;
      this.#heartbeat.defer(body);
    }
  }

  startHeartbeat(): void {
    this.#heartbeat.start();
  }

  /** Ends the heartbeat. */
  close(): void {
    this.#heartbeat.stop();
  }

  /** Runs `body` without waiting for a lock, as a wait blocks the event loop. */
  #beat(deferred: () => void): boolean {
    const timeout = this.#db.pragma('busy_timeout', { simple: true }) as number;
    this.#db.pragma('busy_timeout = 0');
    try {
      deferred();
      return this.onBeat();
    } catch (error) {
      if (!isError(error, 'DATABASE', 'NO_SPACE')) throw error;
      return true;
    } finally {
      this.#db.pragma(`busy_timeout = ${timeout}`);
    }
  }
}
