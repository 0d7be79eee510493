/**
 * The claims in the cache's index: which process is fetching which blocks, and the bytes reserved for them.
 *
 * A claim carries the time of its owner's last heartbeat: one whose owner died, was stopped or hangs is taken over. A stopped
 * owner may go on later: it writes the same bytes to the same place, and its release counts what is there.
 */
import type { Database } from 'better-sqlite3';
import type { ProcessId } from '../base/process.ts';
import type { CacheEntries } from './cache-entries.ts';
import type { ClaimRow } from './cache-tables.ts';
import type { CacheTransactions } from './cache-transactions.ts';
import type { IsAlive } from './owners.ts';

/** Milliseconds without a heartbeat after which a claim may be taken over: three beats missed. */
const STALE_CLAIM = 6_000;

/** What lies on disk of an entry, as the one who has it open sees it. */
export interface Presence {
  /** Bytes on disk, in whole blocks, after a look at the files. */
  presentBytes(): number;
  /** Bytes of blocks `first..last` that are not, as of that look. */
  absentBytes(first: number, last: number): number;
  /** Are these still the files found under the entry's name? Else they were replaced, and their state is not its own. */
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
  of: db.prepare<[string], ClaimRow>('SELECT * FROM cache_claims WHERE key = ?'),
  all: db.prepare<[], ClaimRow>('SELECT * FROM cache_claims'),
  reserved: db.prepare<[], { total: number }>('SELECT COALESCE(SUM(bytes), 0) AS total FROM cache_claims'),
  reserve: db.prepare('UPDATE cache_claims SET bytes = ? WHERE id = ?'),
  beat: db.prepare('UPDATE cache_claims SET beat = ? WHERE pid = ? AND start_time = ?'),
  delete: db.prepare('DELETE FROM cache_claims WHERE id = ?'),
  deleteOf: db.prepare('DELETE FROM cache_claims WHERE key = ?'),
});

export class CacheClaims {
  readonly #transactions: CacheTransactions;
  readonly #entries: CacheEntries;
  readonly #self: ProcessId;
  readonly #isAlive: IsAlive;
  readonly #sql: ReturnType<typeof prepare>;
  readonly #own = new Set<number>();

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
    transactions.onBeat = () => this.#beat();
  }

  /** Is a living process fetching this block, by its claim? Only looks. */
  isClaimed(key: string, block: number): boolean {
    return this.#sql.overlapping.all(key, block, block).some((row) => this.#holds(row));
  }

  /** Bytes reserved by fetches under way. */
  reserved(): number {
    return this.#sql.reserved.get()?.total ?? 0;
  }

  /**
   * Claims blocks `first..last`, or the part of them before another fetch's claim, and reserves their bytes.
   * `busy` where `first` is already being fetched; `full` where the reservation would pass `limit` bytes.
   */
  acquire(key: string, first: number, last: number, blockSize: number, limit: number): ClaimResult {
    const result = this.#transactions.exclusive((): ClaimResult => {
      let end = last;
      for (const row of this.#sql.overlapping.all(key, first, last)) {
        if (!this.#holds(row)) this.#sql.delete.run(row.id);
        else if (row.first <= first) return { busy: true };
        else end = Math.min(end, row.first - 1);
      }
      const bytes = (end - first + 1) * blockSize;
      if (this.#entries.stored() + this.reserved() + bytes > limit) return { full: true };
      const { pid, startTime } = this.#self;
      const added = this.#sql.add.run(key, first, end, bytes, pid, startTime, Date.now());
      return { claim: { id: Number(added.lastInsertRowid), key, first, last: end } };
    });
    if ('claim' in result) {
      this.#own.add(result.claim.id);
      this.#transactions.startHeartbeat();
    }
    return result;
  }

  /** Ends a claim and counts what is there. Where the database is busy or full, that is done later. */
  release(claim: Claim, presence: Presence): void {
    this.#own.delete(claim.id);
    // The files may be closed when it is done later: then they are counted when they are opened next.
    let late = false;
    this.#transactions.soon(() => {
      this.#transactions.exclusive(() => {
        this.#sql.delete.run(claim.id);
        if (!late && presence.isCurrent()) this.count(claim.key, presence);
      });
    });
    late = true;
  }

  /** Sets the bytes of an entry, and those reserved for it, to what a look at its files shows. Within a transaction. */
  count(key: string, presence: Presence): void {
    this.#entries.setBytes(key, presence.presentBytes());
    for (const { id, first, last, bytes } of this.#sql.of.all(key)) {
      const absent = presence.absentBytes(first, last);
      if (absent !== bytes) this.#sql.reserve.run(absent, id);
    }
  }

  /** Forgets the claims of processes that died. The result has their keys: these hold more than is counted. */
  forgetDead(): string[] {
    const dead = this.#sql.all.all().filter((row) => !this.#lives(row));
    if (dead.length > 0)
      this.#transactions.exclusive(() => {
        for (const { id } of dead) this.#sql.delete.run(id);
      });
    return dead.map(({ key }) => key);
  }

  deleteOf(key: string): void {
    this.#sql.deleteOf.run(key);
  }

  #beat(): boolean {
    if (this.#own.size > 0) this.#sql.beat.run(Date.now(), this.#self.pid, this.#self.startTime);
    return this.#own.size > 0;
  }

  #holds(row: ClaimRow): boolean {
    return Date.now() - row.beat < STALE_CLAIM && this.#lives(row);
  }

  #lives({ pid, start_time }: ClaimRow): boolean {
    return this.#isAlive({ pid, startTime: start_time });
  }
}
