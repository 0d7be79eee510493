/**
 * The rows of the cache's index that belong to a process: its openings and its claims. The index ignores those of a dead
 * process, and deletes them when it meets them.
 */
import type { Database } from 'better-sqlite3';
import type { ProcessId } from '../base/process.ts';
import type { CacheEntries } from './cache-entries.ts';
import type { OwnedRow } from './cache-tables.ts';
import type { CacheTransactions } from './cache-transactions.ts';
import type { IsAlive } from './owners.ts';

/** What the modules of one index share. */
export interface IndexParts {
  readonly db: Database;
  readonly transactions: CacheTransactions;
  readonly entries: CacheEntries;
  /** The process that uses the index. */
  readonly self: ProcessId;
  readonly isAlive: IsAlive;
}

const prepare = <R>(db: Database, table: string) => ({
  of: db.prepare<[string], R>(`SELECT * FROM ${table} WHERE key = ?`),
  all: db.prepare<[], R>(`SELECT * FROM ${table}`),
  delete: db.prepare(`DELETE FROM ${table} WHERE id = ?`),
  deleteOf: db.prepare(`DELETE FROM ${table} WHERE key = ?`),
});

export class OwnedRows<R extends OwnedRow> {
  readonly #parts: IndexParts;
  readonly #sql: ReturnType<typeof prepare<R>>;

  constructor(parts: IndexParts, table: 'cache_opens' | 'cache_claims') {
    this.#parts = parts;
    this.#sql = prepare(parts.db, table);
  }

  /** The rows of an entry. */
  of(key: string): R[] {
    return this.#sql.of.all(key);
  }

  /** Is the process that owns the row alive? */
  lives({ pid, start_time }: OwnedRow): boolean {
    return this.#parts.isAlive({ pid, startTime: start_time });
  }

  delete(id: number): void {
    this.#sql.delete.run(id);
  }

  deleteOf(key: string): void {
    this.#sql.deleteOf.run(key);
  }

  /** Deletes the rows of dead processes, and returns them. */
  deleteDead(): R[] {
    const dead = this.#sql.all.all().filter((row) => !this.lives(row));
    if (dead.length > 0)
      this.#parts.transactions.exclusive(() => {
        for (const { id } of dead) this.delete(id);
      });
    return dead;
  }
}
