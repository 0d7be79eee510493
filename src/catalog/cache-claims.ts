/**
 * The claims in the cache's index: which process is fetching which blocks, and the bytes reserved for them.
 *
 * A claim carries the time of its owner's last heartbeat. Another process takes over a claim whose owner died, was stopped or
 * hangs. A stopped owner may continue later. That does no harm: it writes the same bytes to the same place, and its release
 * counts what is there.
 */
import type { Database } from 'better-sqlite3';
import { type IndexParts, OwnedRows } from './cache-owned.ts';
import type { ClaimRow } from './cache-tables.ts';

/** Milliseconds without a heartbeat after which a claim may be taken over: three beats missed. */
const STALE_CLAIM = 6_000;

/** The bytes of an entry on disk, as a process that has the entry open sees them. */
export interface Presence {
  /** Bytes on disk, in whole blocks, after a look at the files. */
  presentBytes(): number;
  /** Bytes of blocks `first..last` that are absent, as of that look. */
  absentBytes(first: number, last: number): number;
  /** Are these still the files under the entry's name? If not, they were replaced, and do not tell the entry's state. */
  isCurrent(): boolean;
}

/** Blocks `first..last` (inclusive) that this process alone may fetch now. */
export interface Claim {
  readonly id: number;
  readonly key: string;
  readonly first: number;
  readonly last: number;
}

export type ClaimResult = { claim: Claim } | { busy: true } | { full: true };

const prepare = (db: Database) => ({
  add: db.prepare(
    'INSERT INTO cache_claims (key, first, last, bytes, pid, start_time, beat) VALUES (?, ?, ?, ?, ?, ?, ?)',
  ),
  overlapping: db.prepare<[string, number, number], ClaimRow>(
    'SELECT * FROM cache_claims WHERE key = ? AND last >= ? AND first <= ? ORDER BY first',
  ),
  reserved: db.prepare<[], { total: number }>('SELECT COALESCE(SUM(bytes), 0) AS total FROM cache_claims'),
  reserve: db.prepare('UPDATE cache_claims SET bytes = ? WHERE id = ?'),
  beat: db.prepare('UPDATE cache_claims SET beat = ? WHERE pid = ? AND start_time = ?'),
});

export class CacheClaims {
  readonly #parts: IndexParts;
  readonly #rows: OwnedRows<ClaimRow>;
  readonly #sql: ReturnType<typeof prepare>;
  readonly #own = new Set<number>();

  constructor(parts: IndexParts) {
    this.#parts = parts;
    this.#rows = new OwnedRows(parts, 'cache_claims');
    this.#sql = prepare(parts.db);
    parts.transactions.onBeat = () => this.#beat();
  }

  /** Has a living process a claim on this block? Changes nothing. */
  isClaimed(key: string, block: number): boolean {
    return this.#sql.overlapping.all(key, block, block).some((row) => this.#holds(row));
  }

  /** Bytes reserved by fetches under way. */
  reserved(): number {
    return this.#sql.reserved.get()?.total ?? 0;
  }

  /**
   * Claims blocks `first..last`, or the part of them before another fetch's claim, and reserves their bytes. Returns `busy` if
   * `first` is already being fetched, `full` if the reservation would exceed `limit` bytes.
   */
  acquire(key: string, first: number, last: number, blockSize: number, limit: number): ClaimResult {
    const result = this.#parts.transactions.exclusive((): ClaimResult => {
      let end = last;
      for (const row of this.#sql.overlapping.all(key, first, last)) {
        if (!this.#holds(row)) this.#rows.delete(row.id);
        else if (row.first <= first) return { busy: true };
        else end = Math.min(end, row.first - 1);
      }
      const bytes = (end - first + 1) * blockSize;
      if (this.#parts.entries.stored() + this.reserved() + bytes > limit) return { full: true };
      const { pid, startTime } = this.#parts.self;
      const added = this.#sql.add.run(key, first, end, bytes, pid, startTime, Date.now());
      return { claim: { id: Number(added.lastInsertRowid), key, first, last: end } };
    });
    if ('claim' in result) {
      this.#own.add(result.claim.id);
      this.#parts.transactions.startHeartbeat();
    }
    return result;
  }

  /** Ends a claim and counts what is there. If the database is busy or full, does so later. */
  release(claim: Claim, presence: Presence): void {
    this.#own.delete(claim.id);
    // The files may be closed by then. Then the next opening counts them.
    let late = false;
    this.#parts.transactions.soon(() => {
      this.#parts.transactions.exclusive(() => {
        this.#rows.delete(claim.id);
        if (!late && presence.isCurrent()) this.count(claim.key, presence);
      });
    });
    late = true;
  }

  /** Sets the bytes of an entry, and those reserved for it, to what a look at its files shows. Within a transaction. */
  count(key: string, presence: Presence): void {
    this.#parts.entries.setBytes(key, presence.presentBytes());
    for (const { id, first, last, bytes } of this.#rows.of(key)) {
      const absent = presence.absentBytes(first, last);
      if (absent !== bytes) this.#sql.reserve.run(absent, id);
    }
  }

  /** Forgets the claims of processes that died. Returns their keys, whose entries have more bytes than counted. */
  forgetDead(): string[] {
    return this.#rows.deleteDead().map(({ key }) => key);
  }

  deleteOf(key: string): void {
    this.#rows.deleteOf(key);
  }

  #beat(): boolean {
    if (this.#own.size > 0) this.#sql.beat.run(Date.now(), this.#parts.self.pid, this.#parts.self.startTime);
    return this.#own.size > 0;
  }

  #holds(row: ClaimRow): boolean {
    return Date.now() - row.beat < STALE_CLAIM && this.#rows.lives(row);
  }
}
