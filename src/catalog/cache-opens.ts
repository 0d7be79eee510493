/** The openings in the cache's index: which process has which entry open. An entry that is open is not evicted. */
import type { Statement } from 'better-sqlite3';
import type { NewEntry } from './cache-entries.ts';
import { type IndexParts, OwnedRows } from './cache-owned.ts';
import type { CacheEntryRow, OwnedRow } from './cache-tables.ts';

export class CacheOpens {
  readonly #parts: IndexParts;
  readonly #rows: OwnedRows<OwnedRow>;
  readonly #add: Statement;

  constructor(parts: IndexParts) {
    this.#parts = parts;
    this.#rows = new OwnedRows(parts, 'cache_opens');
    this.#add = parts.db.prepare('INSERT INTO cache_opens (key, pid, start_time) VALUES (?, ?, ?)');
  }

  /**
   * Creates the entry if it is new and notes that this process has it open. `open` runs inside the transaction, so that
   * of several processes that find no files yet only one makes them. The result's `opening` is for {@link release}.
   */
  acquire<T>(entry: NewEntry, open: () => T): { row: CacheEntryRow; opening: number; opened: T } {
    const { transactions, entries, self } = this.#parts;
    return transactions.exclusive(() => {
      const opened = open();
      entries.put(entry);
      const { lastInsertRowid } = this.#add.run(entry.key, self.pid, self.startTime);
      return { row: entries.get(entry.key) as CacheEntryRow, opening: Number(lastInsertRowid), opened };
    });
  }

  /** Ends one opening. If the database is busy or full, does so later. */
  release(key: string, opening: number): void {
    const { transactions, entries } = this.#parts;
    transactions.soon(() =>
      transactions.exclusive(() => {
        this.#rows.delete(opening);
        entries.touch(key);
      }),
    );
  }

  /** Is it open in any live process? Forgets the openings of dead ones. */
  isOpen(key: string): boolean {
    const openings = this.#rows.of(key);
    const dead = openings.filter((row) => !this.#rows.lives(row));
    for (const { id } of dead) this.#rows.delete(id);
    return dead.length < openings.length;
  }

  /** Forgets the openings of processes that died. Returns how many. */
  forgetDead(): number {
    return this.#rows.deleteDead().length;
  }

  deleteOf(key: string): void {
    this.#rows.deleteOf(key);
  }
}
