/** The entries of the cache's index: which image revisions are on disk, how large they are, and when they were used. */
import type { Database } from 'better-sqlite3';
import type { CacheEntryRow } from './cache-tables.ts';

export interface NewEntry {
  readonly key: string;
  readonly uri: string;
  readonly digest?: string | undefined;
  readonly size: number;
}

const EVICTABLE = 'pinned = 0 AND key NOT IN (SELECT key FROM cache_opens)';

const prepare = (db: Database) => ({
  get: db.prepare<[string], CacheEntryRow>('SELECT * FROM cache_entries WHERE key = ?'),
  byDigest: db.prepare<[string], CacheEntryRow>(
    'SELECT * FROM cache_entries WHERE digest = ? AND verified = 1 LIMIT 1',
  ),
  all: db.prepare<[], CacheEntryRow>('SELECT * FROM cache_entries ORDER BY last_used'),
  stored: db.prepare<[], { total: number }>('SELECT COALESCE(SUM(bytes), 0) AS total FROM cache_entries'),
  evictable: db.prepare<[], { total: number }>(
    `SELECT COALESCE(SUM(bytes), 0) AS total FROM cache_entries WHERE ${EVICTABLE}`,
  ),
  leastRecent: db.prepare<[number], CacheEntryRow>(
    `SELECT * FROM cache_entries WHERE ${EVICTABLE} ORDER BY last_used LIMIT ?`,
  ),
  insert: db.prepare(
    `INSERT INTO cache_entries (key, uri, digest, size, last_used) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT (key) DO UPDATE SET last_used = excluded.last_used, uri = excluded.uri`,
  ),
  restore: db.prepare(
    'INSERT OR IGNORE INTO cache_entries (key, uri, digest, size, bytes, last_used) VALUES (?, ?, ?, ?, ?, ?)',
  ),
  touch: db.prepare('UPDATE cache_entries SET last_used = ? WHERE key = ?'),
  setBytes: db.prepare('UPDATE cache_entries SET bytes = ? WHERE key = ?'),
  incomplete: db.prepare('UPDATE cache_entries SET complete = 0, verified = 0, stamp = NULL WHERE key = ?'),
  complete: db.prepare('UPDATE cache_entries SET complete = 1, verified = ?, stamp = ? WHERE key = ?'),
  pin: db.prepare('UPDATE cache_entries SET pinned = ? WHERE key = ?'),
  delete: db.prepare('DELETE FROM cache_entries WHERE key = ?'),
});

export class CacheEntries {
  readonly #sql: ReturnType<typeof prepare>;

  constructor(db: Database) {
    this.#sql = prepare(db);
  }

  get(key: string): CacheEntryRow | undefined {
    return this.#sql.get.get(key);
  }

  /** A complete entry whose bytes are known to have this sha256, from any backend. */
  findVerified(digest: string): CacheEntryRow | undefined {
    return this.#sql.byDigest.get(digest);
  }

  /** Every entry, least recently used first. */
  list(): CacheEntryRow[] {
    return this.#sql.all.all();
  }

  /** Bytes on disk of all entries together. */
  stored(): number {
    return this.#sql.stored.get()?.total ?? 0;
  }

  /** Bytes of the entries that are neither open nor pinned. */
  evictable(): number {
    return this.#sql.evictable.get()?.total ?? 0;
  }

  /** Up to `count` entries that are neither open nor pinned, least recently used first. */
  leastRecentlyUsed(count: number): CacheEntryRow[] {
    return this.#sql.leastRecent.all(count);
  }

  /** Adds an entry without bytes, or notes that a known one is used. */
  put({ key, uri, digest, size }: NewEntry): void {
    this.#sql.insert.run(key, uri, digest ?? null, size, Date.now());
  }

  /**
   * Adds an entry that was found on disk. Returns false if the index has it already. `lastUsed`: milliseconds since the epoch.
   */
  restore({ key, uri, digest, size }: NewEntry, bytes: number, lastUsed: number): boolean {
    return this.#sql.restore.run(key, uri, digest ?? null, size, bytes, lastUsed).changes > 0;
  }

  touch(key: string): void {
    this.#sql.touch.run(Date.now(), key);
  }

  setBytes(key: string, bytes: number): void {
    this.#sql.setBytes.run(bytes, key);
  }

  /** `stamp` is that of the data file when it was compared with its digest. */
  setComplete(key: string, verified: boolean, stamp?: string): void {
    this.#sql.complete.run(verified ? 1 : 0, stamp ?? null, key);
  }

  setIncomplete(key: string): void {
    this.#sql.incomplete.run(key);
  }

  /** Pins or unpins an entry. Returns false if the entry does not exist. */
  pin(key: string, pinned: boolean): boolean {
    return this.#sql.pin.run(pinned ? 1 : 0, key).changes > 0;
  }

  delete(key: string): void {
    this.#sql.delete.run(key);
  }
}
