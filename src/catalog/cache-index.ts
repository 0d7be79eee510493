/**
 * What the image cache shares between processes: which images are on disk and how large they are, who has them open,
 * and who is fetching which blocks. Each of these is one short transaction, so several mounts and CLI calls on one
 * cache directory neither exceed its limit nor fetch the same bytes twice. The bytes themselves and the map of blocks
 * present are files (src/cache/entry.ts): a lost claim costs a second fetch, never a wrong byte.
 *
 * An owner is a process, by pid and start time; what a dead owner left is ignored and cleared when met.
 */
import type { Database } from 'better-sqlite3';
import { isAlive, type ProcessId } from '../base/process.ts';

export const CACHE_SCHEMA = `
  CREATE TABLE cache_entries (
    key TEXT PRIMARY KEY,
    uri TEXT NOT NULL,
    digest TEXT,
    size INTEGER NOT NULL,
    bytes INTEGER NOT NULL DEFAULT 0,
    complete INTEGER NOT NULL DEFAULT 0,
    verified INTEGER NOT NULL DEFAULT 0,
    pinned INTEGER NOT NULL DEFAULT 0,
    last_used INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX cache_entries_digest ON cache_entries (digest) WHERE verified = 1;
  CREATE TABLE cache_opens (
    key TEXT NOT NULL, pid INTEGER NOT NULL, start_time TEXT NOT NULL,
    PRIMARY KEY (key, pid, start_time)
  ) STRICT;
  CREATE TABLE cache_claims (
    key TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, bytes INTEGER NOT NULL,
    pid INTEGER NOT NULL, start_time TEXT NOT NULL
  ) STRICT;
  CREATE INDEX cache_claims_key ON cache_claims (key, first);
`;

/** One image revision on disk. Sizes in bytes, times in milliseconds since the epoch. */
export interface CacheEntryRow {
  readonly key: string;
  readonly uri: string;
  readonly digest: string | null;
  /** Of the whole image. */
  readonly size: number;
  /** Present on disk or reserved by a fetch under way. */
  readonly bytes: number;
  readonly complete: 0 | 1;
  /** Its sha256 was compared with `digest` when it was complete. */
  readonly verified: 0 | 1;
  readonly pinned: 0 | 1;
  readonly last_used: number;
}

export interface NewEntry {
  readonly key: string;
  readonly uri: string;
  readonly digest?: string | undefined;
  readonly size: number;
}

/** Blocks `first..last` (inclusive) that this process alone may fetch now. */
export interface Claim {
  readonly key: string;
  readonly first: number;
  readonly last: number;
  /** Reserved in the entry's `bytes`. */
  readonly bytes: number;
}

export type ClaimResult = { claim: Claim } | { busy: true } | { full: true };

interface ClaimRow {
  rowid: number;
  key: string;
  first: number;
  last: number;
  bytes: number;
  pid: number;
  start_time: string;
}

interface OpenRow {
  key: string;
  pid: number;
  start_time: string;
}

const prepare = (db: Database) => ({
  get: db.prepare('SELECT * FROM cache_entries WHERE key = ?'),
  byDigest: db.prepare('SELECT * FROM cache_entries WHERE digest = ? AND verified = 1 LIMIT 1'),
  all: db.prepare('SELECT * FROM cache_entries ORDER BY last_used'),
  total: db.prepare('SELECT COALESCE(SUM(bytes), 0) AS total FROM cache_entries'),
  insert: db.prepare(
    `INSERT INTO cache_entries (key, uri, digest, size, last_used) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT (key) DO UPDATE SET last_used = excluded.last_used, uri = excluded.uri`,
  ),
  touch: db.prepare('UPDATE cache_entries SET last_used = ? WHERE key = ?'),
  addBytes: db.prepare('UPDATE cache_entries SET bytes = MAX(0, bytes + ?) WHERE key = ?'),
  setBytes: db.prepare('UPDATE cache_entries SET bytes = ?, complete = 0, verified = 0 WHERE key = ?'),
  complete: db.prepare('UPDATE cache_entries SET complete = 1, verified = ? WHERE key = ?'),
  pin: db.prepare('UPDATE cache_entries SET pinned = ? WHERE key = ?'),
  delete: db.prepare('DELETE FROM cache_entries WHERE key = ?'),
  addOpen: db.prepare('INSERT OR IGNORE INTO cache_opens (key, pid, start_time) VALUES (?, ?, ?)'),
  deleteOpen: db.prepare('DELETE FROM cache_opens WHERE key = ? AND pid = ? AND start_time = ?'),
  opens: db.prepare('SELECT * FROM cache_opens WHERE key = ?'),
  overlapping: db.prepare(
    'SELECT rowid, * FROM cache_claims WHERE key = ? AND last >= ? AND first <= ? ORDER BY first',
  ),
  claimsOf: db.prepare('SELECT rowid, * FROM cache_claims WHERE key = ?'),
  addClaim: db.prepare(
    'INSERT INTO cache_claims (key, first, last, bytes, pid, start_time) VALUES (?, ?, ?, ?, ?, ?)',
  ),
  deleteClaim: db.prepare('DELETE FROM cache_claims WHERE rowid = ?'),
  deleteOwnClaim: db.prepare(
    'DELETE FROM cache_claims WHERE key = ? AND first = ? AND last = ? AND pid = ? AND start_time = ?',
  ),
});

export class CacheIndex {
  readonly #db: Database;
  readonly #self: ProcessId;
  readonly #sql: ReturnType<typeof prepare>;

  constructor(db: Database, self: ProcessId) {
    this.#db = db;
    this.#self = self;
    this.#sql = prepare(db);
  }

  /** Runs `body` as one transaction that excludes every other writer, of any process. */
  #exclusive<T>(body: () => T): T {
    return this.#db.transaction(body).immediate();
  }

  get(key: string): CacheEntryRow | undefined {
    return this.#sql.get.get(key) as CacheEntryRow | undefined;
  }

  /** A complete entry whose bytes are known to have this sha256, whichever backend they came from. */
  findVerified(digest: string): CacheEntryRow | undefined {
    return this.#sql.byDigest.get(digest) as CacheEntryRow | undefined;
  }

  /** Every entry, least recently used first. */
  list(): CacheEntryRow[] {
    return this.#sql.all.all() as CacheEntryRow[];
  }

  /** Bytes of all entries together, reservations included. */
  total(): number {
    return (this.#sql.total.get() as { total: number }).total;
  }

  /**
   * Creates the entry if it is new and says that this process has it open: it will not be evicted. `open` runs inside
   * the transaction, so that of several processes that find no files yet only one makes them.
   */
  enter(entry: NewEntry, open: () => void = () => {}): CacheEntryRow {
    return this.#exclusive(() => {
      open();
      this.#sql.insert.run(entry.key, entry.uri, entry.digest ?? null, entry.size, Date.now());
      this.#sql.addOpen.run(entry.key, this.#self.pid, this.#self.startTime);
      return this.get(entry.key) as CacheEntryRow;
    });
  }

  /** This process no longer has the entry open. */
  leave(key: string): void {
    this.#exclusive(() => {
      this.#sql.deleteOpen.run(key, this.#self.pid, this.#self.startTime);
      this.#sql.touch.run(Date.now(), key);
    });
  }

  /**
   * Claims blocks `first..last`, or the part of them before another process's claim, and reserves their bytes.
   * `busy` where another process already fetches `first`; `full` where the reservation would pass `limit` bytes.
   */
  claim(key: string, first: number, last: number, blockSize: number, limit: number): ClaimResult {
    return this.#exclusive((): ClaimResult => {
      let end = last;
      for (const row of this.#sql.overlapping.all(key, first, last) as ClaimRow[]) {
        if (!this.#stillHolds(row)) continue;
        if (row.first <= first) return { busy: true };
        end = Math.min(end, row.first - 1);
      }
      const bytes = (end - first + 1) * blockSize;
      if (this.total() + bytes > limit) return { full: true };
      this.#sql.addClaim.run(key, first, end, bytes, this.#self.pid, this.#self.startTime);
      this.#sql.addBytes.run(bytes, key);
      return { claim: { key, first, last: end, bytes } };
    });
  }

  /** Ends a claim; of its reservation, `stored` bytes stay accounted. */
  release(claim: Claim, stored: number): void {
    this.#exclusive(() => {
      const { key, first, last } = claim;
      const { changes } = this.#sql.deleteOwnClaim.run(
        key,
        first,
        last,
        this.#self.pid,
        this.#self.startTime,
      );
      if (changes > 0) this.#sql.addBytes.run(stored - claim.bytes, key);
    });
  }

  /** Sets what is present after a look at the files: not known to be complete, reservations of fetches kept. */
  recount(key: string, present: number): void {
    this.#exclusive(() => {
      let reserved = 0;
      for (const row of this.#sql.claimsOf.all(key) as ClaimRow[]) {
        if (this.#stillHolds(row)) reserved += row.bytes;
      }
      this.#sql.setBytes.run(present + reserved, key);
    });
  }

  markComplete(key: string, verified: boolean): void {
    this.#exclusive(() => this.#sql.complete.run(verified ? 1 : 0, key));
  }

  /**
   * Enters a whole image, unless someone has it open. `place` runs inside the transaction and must put the files in
   * their place at once, so that nobody can enter while they are replaced.
   */
  install(entry: NewEntry, verified: boolean, place: () => void): boolean {
    return this.#exclusive(() => {
      if (this.isOpen(entry.key)) return false;
      place();
      this.#sql.insert.run(entry.key, entry.uri, entry.digest ?? null, entry.size, Date.now());
      this.#sql.setBytes.run(entry.size, entry.key);
      this.#sql.complete.run(verified ? 1 : 0, entry.key);
      return true;
    });
  }

  pin(key: string, pinned: boolean): boolean {
    return this.#exclusive(() => this.#sql.pin.run(pinned ? 1 : 0, key).changes > 0);
  }

  /** Is it open in any live process? */
  isOpen(key: string): boolean {
    let open = false;
    for (const row of this.#sql.opens.all(key) as OpenRow[]) {
      if (isAlive({ pid: row.pid, startTime: row.start_time })) open = true;
      else this.#sql.deleteOpen.run(row.key, row.pid, row.start_time);
    }
    return open;
  }

  /**
   * Removes the entry unless it is open or pinned. `detach` runs inside the transaction and must make the files
   * unreachable under their name at once (a rename), so that nobody can enter a half-removed entry.
   */
  evict(key: string, detach: () => void): boolean {
    return this.#exclusive(() => {
      const entry = this.get(key);
      if (entry === undefined || entry.pinned === 1 || this.isOpen(key)) return false;
      this.#remove(key, detach);
      return true;
    });
  }

  /** Removes the entry whoever has it open: its bytes are wrong. */
  discard(key: string, detach: () => void): void {
    this.#exclusive(() => this.#remove(key, detach));
  }

  #remove(key: string, detach: () => void): void {
    detach();
    this.#sql.delete.run(key);
    for (const row of this.#sql.opens.all(key) as OpenRow[])
      this.#sql.deleteOpen.run(row.key, row.pid, row.start_time);
    for (const row of this.#sql.claimsOf.all(key) as ClaimRow[]) this.#sql.deleteClaim.run(row.rowid);
  }

  /** Does the claim's owner live? Else its reservation is given back. */
  #stillHolds(row: ClaimRow): boolean {
    if (isAlive({ pid: row.pid, startTime: row.start_time })) return true;
    this.#sql.deleteClaim.run(row.rowid);
    this.#sql.addBytes.run(-row.bytes, row.key);
    return false;
  }
}
