/**
 * What the image cache shares between processes: which images are on disk and how large they are, who has them open,
 * and who is fetching which blocks. Each of these is one short transaction, so several mounts and CLI calls on one
 * cache directory neither exceed its limit nor fetch the same bytes twice. The bytes themselves and the map of blocks
 * present are files (src/cache/entry.ts): a lost claim costs a second fetch, never a wrong byte.
 *
 * What the cache holds is counted in two parts. An entry's `bytes` are on disk; a claim's `bytes` are reserved for
 * blocks still to come. Both are set from the map of blocks present, not added to, so an account that a crash left
 * wrong is right again after the next fetch or opening.
 *
 * An owner is a process, by pid and start time; what a dead owner left is ignored and cleared when met. A claim also
 * carries the time of its owner's last heartbeat: one whose owner was stopped, or hangs, is taken over. The stopped
 * owner may go on later: it writes the same bytes to the same place, and its release counts what is there.
 */
import type { Database, Statement } from 'better-sqlite3';
import { isError } from '../base/errors.ts';
import type { ProcessId } from '../base/process.ts';
import {
  CACHE_SQL,
  type CacheEntryRow,
  type ClaimRow,
  type OpenRow,
  type OwnerColumns,
} from './cache-tables.ts';
import { type Deferred, Heartbeat } from './heartbeat.ts';
import type { IsAlive } from './owners.ts';

export type { CacheEntryRow };

/** Milliseconds without a heartbeat after which a claim may be taken over: three beats missed. */
const STALE_CLAIM = 6_000;

export interface NewEntry {
  readonly key: string;
  readonly uri: string;
  readonly digest?: string | undefined;
  readonly size: number;
}

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

type Statements = Readonly<Record<keyof typeof CACHE_SQL, Statement>>;

function prepare(db: Database): Statements {
  const statements = Object.entries(CACHE_SQL).map(([name, sql]) => [name, db.prepare(sql)]);
  return Object.fromEntries(statements) as Statements;
}

export class CacheIndex {
  readonly #db: Database;
  readonly #self: ProcessId;
  readonly #isAlive: IsAlive;
  readonly #sql: Statements;
  readonly #heartbeat: Heartbeat;
  readonly #claims = new Set<number>();

  constructor(db: Database, self: ProcessId, isAlive: IsAlive) {
    this.#db = db;
    this.#self = self;
    this.#isAlive = isAlive;
    this.#sql = prepare(db);
    this.#heartbeat = new Heartbeat((deferred) => this.#beat(deferred));
  }

  /** Ends the heartbeat. */
  close(): void {
    this.#heartbeat.stop();
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

  /** Bytes on disk of all entries together. */
  stored(): number {
    return total(this.#sql.stored);
  }

  /** Bytes of all entries together: on disk, and reserved by fetches under way. */
  total(): number {
    return this.stored() + total(this.#sql.reserved);
  }

  /** Bytes of what is neither open nor pinned. */
  evictable(): number {
    return total(this.#sql.evictable);
  }

  /** Up to `count` entries that are neither open nor pinned, least recently used first. */
  leastRecentlyUsed(count: number): CacheEntryRow[] {
    return this.#sql.leastRecent.all(count) as CacheEntryRow[];
  }

  /**
   * Creates the entry if it is new and says that this process has it open: it will not be evicted. `open` runs inside
   * the transaction, so that of several processes that find no files yet only one makes them. The result's `opening`
   * is for {@link leave}.
   */
  enter<T>(entry: NewEntry, open: () => T): { row: CacheEntryRow; opening: number; opened: T } {
    return this.#exclusive(() => {
      const opened = open();
      this.#insert(entry);
      const { lastInsertRowid } = this.#sql.addOpen.run(entry.key, this.#self.pid, this.#self.startTime);
      return { row: this.get(entry.key) as CacheEntryRow, opening: Number(lastInsertRowid), opened };
    });
  }

  /** Ends one opening. Where the database is busy or full, that is done later. */
  leave(key: string, opening: number): void {
    this.#soon(() =>
      this.#exclusive(() => {
        this.#sql.deleteOpen.run(opening);
        this.#sql.touch.run(Date.now(), key);
      }),
    );
  }

  /** Is a living process fetching this block, by its claim? Only looks. */
  isClaimed(key: string, block: number): boolean {
    return (this.#sql.overlapping.all(key, block, block) as ClaimRow[]).some((row) => this.#holds(row));
  }

  /**
   * Claims blocks `first..last`, or the part of them before another fetch's claim, and reserves their bytes.
   * `busy` where `first` is already being fetched; `full` where the reservation would pass `limit` bytes.
   */
  claim(key: string, first: number, last: number, blockSize: number, limit: number): ClaimResult {
    const result = this.#exclusive((): ClaimResult => {
      let end = last;
      for (const row of this.#sql.overlapping.all(key, first, last) as ClaimRow[]) {
        if (!this.#holds(row)) this.#sql.deleteClaim.run(row.id);
        else if (row.first <= first) return { busy: true };
        else end = Math.min(end, row.first - 1);
      }
      const bytes = (end - first + 1) * blockSize;
      if (this.total() + bytes > limit) return { full: true };
      const { pid, startTime } = this.#self;
      const added = this.#sql.addClaim.run(key, first, end, bytes, pid, startTime, Date.now());
      return { claim: { id: Number(added.lastInsertRowid), key, first, last: end } };
    });
    if ('claim' in result) {
      this.#claims.add(result.claim.id);
      this.#heartbeat.start();
    }
    return result;
  }

  /** Ends a claim and counts what is there. Where the database is busy or full, that is done later. */
  release(claim: Claim, presence: Presence): void {
    this.#claims.delete(claim.id);
    // The files may be closed when it is done later: then they are counted when they are opened next.
    let late = false;
    this.#soon(() => {
      this.#exclusive(() => {
        this.#sql.deleteClaim.run(claim.id);
        if (!late && presence.isCurrent()) this.#count(claim.key, presence);
      });
    });
    late = true;
  }

  /** Sets what is present after a look at the files: not known to be complete. */
  recount(key: string, presence: Presence): void {
    this.#exclusive(() => {
      if (!presence.isCurrent()) return;
      this.#count(key, presence);
      this.#sql.incomplete.run(key);
    });
  }

  /** Counts what is on disk of an entry that nobody has open. */
  setBytes(key: string, bytes: number): void {
    this.#exclusive(() => {
      if (!this.isOpen(key)) this.#sql.setBytes.run(bytes, key);
    });
  }

  /**
   * Says that the entry is whole. `stamp` is of its data file before it was found to have its digest; undefined where it
   * has none to compare with. Nothing where its files were replaced meanwhile.
   */
  markComplete(key: string, stamp: string | undefined, isCurrent: () => boolean): void {
    this.#exclusive(() => {
      if (isCurrent()) this.#sql.complete.run(stamp === undefined ? 0 : 1, stamp ?? null, key);
    });
  }

  /**
   * Enters a whole image, unless someone has it open. `place` runs inside the transaction and must put the files in
   * their place at once, so that nobody can enter while they are replaced.
   */
  install(entry: NewEntry, verified: boolean, bytes: number, place: () => void): boolean {
    return this.#exclusive(() => {
      if (this.isOpen(entry.key)) return false;
      place();
      this.#insert(entry);
      this.#sql.setBytes.run(bytes, entry.key);
      this.#sql.complete.run(verified ? 1 : 0, null, entry.key);
      return true;
    });
  }

  /** Enters what was found on disk, unless it is known. Tells whether it was not. */
  restore(entry: NewEntry, bytes: number, lastUsed: number): boolean {
    const { key, uri, digest, size } = entry;
    return this.#sql.restore.run(key, uri, digest ?? null, size, bytes, lastUsed).changes > 0;
  }

  pin(key: string, pinned: boolean): boolean {
    return this.#exclusive(() => this.#sql.pin.run(pinned ? 1 : 0, key).changes > 0);
  }

  /** Is it open in any live process? */
  isOpen(key: string): boolean {
    return (this.#sql.opens.all(key) as OpenRow[]).filter((row) => this.#stillOpen(row)).length > 0;
  }

  /** Forgets what processes that died had open; how many openings. */
  forgetDeadOpenings(): number {
    const dead = (this.#sql.allOpens.all() as OpenRow[]).filter((row) => !this.#lives(row));
    if (dead.length > 0)
      this.#exclusive(() => {
        for (const { id } of dead) this.#sql.deleteOpen.run(id);
      });
    return dead.length;
  }

  /** Forgets the claims of processes that died. The result has their keys: these hold more than is counted. */
  forgetDeadClaims(): string[] {
    const dead = (this.#sql.allClaims.all() as ClaimRow[]).filter((row) => !this.#lives(row));
    if (dead.length > 0)
      this.#exclusive(() => {
        for (const { id } of dead) this.#sql.deleteClaim.run(id);
      });
    return dead.map(({ key }) => key);
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

  /**
   * Gives the entry another key, whoever has it open: its bytes are wrong. `move` runs inside the transaction and must
   * rename the files. Nothing where they were replaced meanwhile.
   */
  setAside(key: string, aside: NewEntry, presence: Presence, move: () => void): void {
    this.#exclusive(() => {
      if (!presence.isCurrent()) return;
      this.#remove(key, move);
      this.restore(aside, presence.presentBytes(), Date.now());
    });
  }

  /** Forgets an entry whose files are lost, pinned or not, unless it is open. */
  evictLost(key: string, detach: () => void): boolean {
    return this.#exclusive(() => {
      if (this.get(key) === undefined || this.isOpen(key)) return false;
      this.#remove(key, detach);
      return true;
    });
  }

  /** Removes what no entry names, by `detach`, inside a transaction so that nobody enters it meanwhile. */
  removeUnknown(key: string, detach: () => void): boolean {
    return this.#exclusive(() => {
      if (this.get(key) !== undefined) return false;
      detach();
      return true;
    });
  }

  /** Runs `body` as one transaction that excludes every other writer, of any process. */
  #exclusive<T>(body: () => T): T {
    return this.#db.transaction(body).immediate();
  }

  /** Runs `body` now, or with a later heartbeat where the database is busy or full now. */
  #soon(body: Deferred): void {
    try {
      body();
    } catch (error) {
      if (!isError(error, 'DATABASE', 'NO_SPACE')) throw error;
      this.#heartbeat.defer(body);
    }
  }

  /** One heartbeat; false where no further one is needed. Never waits for a lock, as it stops the event loop. */
  #beat(deferred: () => void): boolean {
    const timeout = this.#db.pragma('busy_timeout', { simple: true }) as number;
    this.#db.pragma('busy_timeout = 0');
    try {
      deferred();
      if (this.#claims.size > 0) this.#sql.beat.run(Date.now(), this.#self.pid, this.#self.startTime);
    } catch (error) {
      if (!isError(error, 'DATABASE', 'NO_SPACE')) throw error;
    } finally {
      this.#db.pragma(`busy_timeout = ${timeout}`);
    }
    return this.#claims.size > 0;
  }

  #insert({ key, uri, digest, size }: NewEntry): void {
    this.#sql.insert.run(key, uri, digest ?? null, size, Date.now());
  }

  #count(key: string, presence: Presence): void {
    this.#sql.setBytes.run(presence.presentBytes(), key);
    for (const { id, first, last, bytes } of this.#sql.claimsOf.all(key) as ClaimRow[]) {
      const absent = presence.absentBytes(first, last);
      if (absent !== bytes) this.#sql.reserve.run(absent, id);
    }
  }

  #remove(key: string, detach: () => void): void {
    detach();
    this.#sql.delete.run(key);
    this.#sql.deleteOpens.run(key);
    this.#sql.deleteClaims.run(key);
  }

  #stillOpen(row: OpenRow): boolean {
    const lives = this.#lives(row);
    if (!lives) this.#sql.deleteOpen.run(row.id);
    return lives;
  }

  #holds(row: ClaimRow): boolean {
    return Date.now() - row.beat < STALE_CLAIM && this.#lives(row);
  }

  #lives({ pid, start_time }: OwnerColumns): boolean {
    return this.#isAlive({ pid, startTime: start_time });
  }
}

function total(statement: { get(): unknown }): number {
  return (statement.get() as { total: number }).total;
}
