/** The openings in the cache's index: which process has which entry open. An entry that is open is not evicted. */
import type { Database } from 'better-sqlite3';
import type { ProcessId } from '../base/process.ts';
import type { CacheEntries, NewEntry } from './cache-entries.ts';
import type { CacheEntryRow, OpenRow } from './cache-tables.ts';
import type { CacheTransactions } from './cache-transactions.ts';
import type { IsAlive } from './owners.ts';

const prepare = (db: Database) => ({
  add: db.prepare('INSERT INTO cache_opens (key, pid, start_time) VALUES (?, ?, ?)'),
  of: db.prepare<[string], OpenRow>('SELECT * FROM cache_opens WHERE key = ?'),
  all: db.prepare<[], OpenRow>('SELECT * FROM cache_opens'),
  delete: db.prepare('DELETE FROM cache_opens WHERE id = ?'),
  deleteOf: db.prepare('DELETE FROM cache_opens WHERE key = ?'),
});

export class CacheOpens {
  readonly #transactions: CacheTransactions;
  readonly #entries: CacheEntries;
  readonly #self: ProcessId;
  readonly #isAlive: IsAlive;
  readonly #sql: ReturnType<typeof prepare>;

  constructor(
    db: Database,
    transactions: CacheTransactions,
    entries: CacheEntries,
    self: ProcessId,
    isAlive: IsAlive,
  ) {
    this.#transactions = transactions;
    this.#entries = entries;
    this.#self = self;
    this.#isAlive = isAlive;
    this.#sql = prepare(db);
  }

  /**
   * Creates the entry if it is new and notes that this process has it open. `open` runs inside the transaction, so that
   * of several processes that find no files yet only one makes them. The result's `opening` is for {@link release}.
   */
  acquire<T>(entry: NewEntry, open: () => T): { row: CacheEntryRow; opening: number; opened: T } {
    return this.#transactions.exclusive(() => {
      const opened = open();
      this.#entries.put(entry);
      const { lastInsertRowid } = this.#sql.add.run(entry.key, this.#self.pid, this.#self.startTime);
      return { row: this.#entries.get(entry.key) as CacheEntryRow, opening: Number(lastInsertRowid), opened };
    });
  }

  /** Ends one opening. Where the database is busy or full, that is done later. */
  release(key: string, opening: number): void {
    this.#transactions.soon(() =>
      this.#transactions.exclusive(() => {
        this.#sql.delete.run(opening);
        this.#entries.touch(key);
      }),
    );
  }

  /** Is it open in any live process? Forgets the openings of dead ones. */
  isOpen(key: string): boolean {
    const openings = this.#sql.of.all(key);
    const dead = openings.filter((row) => !this.#lives(row));
    for (const { id } of dead) this.#sql.delete.run(id);
    return dead.length < openings.length;
  }

  /** Forgets what processes that died had open; how many openings. */
  forgetDead(): number {
    const dead = this.#sql.all.all().filter((row) => !this.#lives(row));
    if (dead.length > 0)
      this.#transactions.exclusive(() => {
        for (const { id } of dead) this.#sql.delete.run(id);
      });
    return dead.length;
  }

  deleteOf(key: string): void {
    this.#sql.deleteOf.run(key);
  }

  #lives({ pid, start_time }: OpenRow): boolean {
    return this.#isAlive({ pid, startTime: start_time });
  }
}
