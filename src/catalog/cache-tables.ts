/** The tables of the cache's index and their rows. cache-index.ts says what they mean. */
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
 * The second schema, for maps of blocks with checksums. Older maps have none, so the index forgets their entries, and the cache
 * removes the files when it starts. Openings and claims get numbers, claims a heartbeat.
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
  /** Is all of it on disk, and compared with its digest if it has one? */
  readonly complete: 0 | 1;
  /** Was its sha256 compared with `digest` when it was complete? */
  readonly verified: 0 | 1;
  readonly pinned: 0 | 1;
  /** Stamp of the data file when it was compared; null if it was not. */
  readonly stamp: string | null;
  readonly last_used: number;
}

export interface OwnedRow {
  readonly id: number;
  readonly key: string;
  readonly pid: number;
  readonly start_time: string;
}

export interface ClaimRow extends OwnedRow {
  readonly first: number;
  readonly last: number;
  readonly bytes: number;
  /** Milliseconds since the epoch. */
  readonly beat: number;
}
