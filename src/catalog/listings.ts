/** What backends listed, collection by collection. The caller decides how long a listing is good for. */
import type { ListEntry } from '../image/remote.ts';
import type { Database } from './database.ts';
import { decodeEntries, encodeEntries } from './image-json.ts';

export const LISTINGS_SCHEMA = `
  CREATE TABLE listings (
    backend TEXT NOT NULL,
    collection TEXT NOT NULL,
    entries TEXT NOT NULL,
    complete INTEGER NOT NULL,
    fetched_at INTEGER NOT NULL,
    PRIMARY KEY (backend, collection)
  ) STRICT;
`;

export interface Listing {
  readonly entries: readonly ListEntry[];
  /** Were the service's pages followed to the end? */
  readonly complete: boolean;
  /** Milliseconds since the epoch. */
  readonly fetchedAt: number;
}

interface ListingRow {
  readonly entries: string;
  readonly complete: 0 | 1;
  readonly fetched_at: number;
}

const prepare = (db: Database) => ({
  get: db.prepare<[string, string], ListingRow>(
    'SELECT entries, complete, fetched_at FROM listings WHERE backend = ? AND collection = ?',
  ),
  put: db.prepare('INSERT OR REPLACE INTO listings VALUES (?, ?, ?, ?, ?)'),
  forget: db.prepare('DELETE FROM listings WHERE backend = ? AND collection = ?'),
  forgetAll: db.prepare('DELETE FROM listings WHERE backend = ?'),
});

export class Listings {
  readonly #sql: ReturnType<typeof prepare>;

  constructor(db: Database) {
    this.#sql = prepare(db);
  }

  /** `collection` is `''` for the top. */
  get(backend: string, collection: string): Listing | undefined {
    const row = this.#sql.get.get(backend, collection);
    if (row === undefined) return undefined;
    return {
      entries: decodeEntries(row.entries),
      complete: row.complete === 1,
      fetchedAt: row.fetched_at,
    };
  }

  put(backend: string, collection: string, listing: Listing): void {
    const { entries, complete, fetchedAt } = listing;
    this.#sql.put.run(backend, collection, encodeEntries(entries), complete ? 1 : 0, fetchedAt);
  }

  /** Forgets one collection, or every collection of the backend. */
  forget(backend: string, collection?: string): void {
    if (collection === undefined) this.#sql.forgetAll.run(backend);
    else this.#sql.forget.run(backend, collection);
  }
}
