/** The tables of the cache's index, their rows and the statements on them. What they mean is told in cache-index.ts. */
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

/**
 * With checksums in the maps of blocks. Maps of before have none, so what they describe is forgotten, and removed when
 * the cache starts. Openings and claims get a number of their own, claims a heartbeat.
 */
export const CACHE_CHECKSUMS_SCHEMA = `
  DROP TABLE cache_opens;
  DROP TABLE cache_claims;
  DELETE FROM cache_entries;
  ALTER TABLE cache_entries ADD COLUMN stamp TEXT;
  CREATE INDEX cache_entries_last_used ON cache_entries (last_used);
  CREATE TABLE cache_opens (
    id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, pid INTEGER NOT NULL, start_time TEXT NOT NULL
  ) STRICT;
  CREATE INDEX cache_opens_key ON cache_opens (key);
  CREATE TABLE cache_claims (
    id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    bytes INTEGER NOT NULL, pid INTEGER NOT NULL, start_time TEXT NOT NULL, beat INTEGER NOT NULL
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
  /** On disk, in whole blocks. */
  readonly bytes: number;
  /** All of it is on disk, and was compared with its digest where it has one. */
  readonly complete: 0 | 1;
  /** Its sha256 was compared with `digest` when it was complete. */
  readonly verified: 0 | 1;
  readonly pinned: 0 | 1;
  /** Stamp of the data file when it was compared; null where it was not. */
  readonly stamp: string | null;
  readonly last_used: number;
}

export interface OwnerColumns {
  readonly pid: number;
  readonly start_time: string;
}

export interface ClaimRow extends OwnerColumns {
  readonly id: number;
  readonly key: string;
  readonly first: number;
  readonly last: number;
  readonly bytes: number;
  /** Milliseconds since the epoch. */
  readonly beat: number;
}

export interface OpenRow extends OwnerColumns {
  readonly id: number;
  readonly key: string;
}

const EVICTABLE = 'pinned = 0 AND key NOT IN (SELECT key FROM cache_opens)';

/** The statements of the index, by name. */
export const CACHE_SQL = {
  get: 'SELECT * FROM cache_entries WHERE key = ?',
  byDigest: 'SELECT * FROM cache_entries WHERE digest = ? AND verified = 1 LIMIT 1',
  all: 'SELECT * FROM cache_entries ORDER BY last_used',
  stored: 'SELECT COALESCE(SUM(bytes), 0) AS total FROM cache_entries',
  reserved: 'SELECT COALESCE(SUM(bytes), 0) AS total FROM cache_claims',
  evictable: `SELECT COALESCE(SUM(bytes), 0) AS total FROM cache_entries WHERE ${EVICTABLE}`,
  leastRecent: `SELECT * FROM cache_entries WHERE ${EVICTABLE} ORDER BY last_used LIMIT ?`,
  insert: `INSERT INTO cache_entries (key, uri, digest, size, last_used) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT (key) DO UPDATE SET last_used = excluded.last_used, uri = excluded.uri`,
  restore: `INSERT OR IGNORE INTO cache_entries (key, uri, digest, size, bytes, last_used) VALUES (?, ?, ?, ?, ?, ?)`,
  touch: 'UPDATE cache_entries SET last_used = ? WHERE key = ?',
  setBytes: 'UPDATE cache_entries SET bytes = ? WHERE key = ?',
  incomplete: 'UPDATE cache_entries SET complete = 0, verified = 0, stamp = NULL WHERE key = ?',
  complete: 'UPDATE cache_entries SET complete = 1, verified = ?, stamp = ? WHERE key = ?',
  pin: 'UPDATE cache_entries SET pinned = ? WHERE key = ?',
  delete: 'DELETE FROM cache_entries WHERE key = ?',
  addOpen: 'INSERT INTO cache_opens (key, pid, start_time) VALUES (?, ?, ?)',
  deleteOpen: 'DELETE FROM cache_opens WHERE id = ?',
  deleteOpens: 'DELETE FROM cache_opens WHERE key = ?',
  opens: 'SELECT * FROM cache_opens WHERE key = ?',
  allOpens: 'SELECT * FROM cache_opens',
  overlapping: 'SELECT * FROM cache_claims WHERE key = ? AND last >= ? AND first <= ? ORDER BY first',
  claimsOf: 'SELECT * FROM cache_claims WHERE key = ?',
  allClaims: 'SELECT * FROM cache_claims',
  addClaim:
    'INSERT INTO cache_claims (key, first, last, bytes, pid, start_time, beat) VALUES (?, ?, ?, ?, ?, ?, ?)',
  reserve: 'UPDATE cache_claims SET bytes = ? WHERE id = ?',
  beat: 'UPDATE cache_claims SET beat = ? WHERE pid = ? AND start_time = ?',
  deleteClaim: 'DELETE FROM cache_claims WHERE id = ?',
  deleteClaims: 'DELETE FROM cache_claims WHERE key = ?',
};
