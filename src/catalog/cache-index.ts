/**
 * What the image cache shares between processes: which images are on disk and how large they are (cache-entries.ts), who has
 * them open (cache-opens.ts), and who is fetching which blocks (cache-claims.ts). Each change is one short transaction, so
 * several mounts and CLI calls on one cache directory neither exceed its limit nor fetch the same bytes twice. This module
 * makes the changes that concern more than one of the three. The bytes themselves and the map of blocks present are files
 * (src/cache/entry.ts): a lost claim costs a second fetch, never a wrong byte.
 *
 * What the cache holds is counted in two parts. An entry's `bytes` are on disk; a claim's `bytes` are reserved for blocks still
 * to come. Both are set from the map of blocks present, never added to, so the next fetch or opening corrects a count that a
 * crash left wrong.
 *
 * An owner is a process, by pid and start time. The index ignores the rows of a dead owner, and deletes them when it meets
 * them.
 */
import type { Database } from 'better-sqlite3';
import type { ProcessId } from '../base/process.ts';
import { CacheClaims, type Presence } from './cache-claims.ts';
import { CacheEntries, type NewEntry } from './cache-entries.ts';
import { CacheOpens } from './cache-opens.ts';
import { CacheTransactions } from './cache-transactions.ts';
import type { IsAlive } from './owners.ts';

export class CacheIndex {
  readonly entries: CacheEntries;
  readonly opens: CacheOpens;
  readonly claims: CacheClaims;
  readonly #transactions: CacheTransactions;

  constructor(db: Database, self: ProcessId, isAlive: IsAlive) {
    this.#transactions = new CacheTransactions(db);
    this.entries = new CacheEntries(db);
    const parts = { db, transactions: this.#transactions, entries: this.entries, self, isAlive };
    this.opens = new CacheOpens(parts);
    this.claims = new CacheClaims(parts);
  }

  /** Ends the heartbeat. */
  close(): void {
    this.#transactions.close();
  }

  /** Bytes of all entries together: on disk, and reserved by fetches under way. */
  total(): number {
    return this.entries.stored() + this.claims.reserved();
  }

  /** Sets the bytes present after a look at the files, and marks the entry as not complete. */
  recount(key: string, presence: Presence): void {
    this.#transactions.exclusive(() => {
      if (!presence.isCurrent()) return;
      this.claims.count(key, presence);
      this.entries.setIncomplete(key);
    });
  }

  /** Sets the bytes on disk of an entry that nobody has open. */
  setBytes(key: string, bytes: number): void {
    this.#transactions.exclusive(() => {
      if (!this.opens.isOpen(key)) this.entries.setBytes(key, bytes);
    });
  }

  /**
   * Notes that the entry is whole. `stamp` is that of the data file before it was compared with its digest; undefined if its
   * service states no digest. Does nothing if the files were replaced meanwhile.
   */
  markComplete(key: string, stamp: string | undefined, isCurrent: () => boolean): void {
    this.#transactions.exclusive(() => {
      if (isCurrent()) this.entries.setComplete(key, stamp !== undefined, stamp);
    });
  }

  /**
   * Adds a whole image, unless someone has it open. `place` runs inside the transaction and must put the files in place at
   * once, so that nobody can open the entry during the change.
   */
  install(entry: NewEntry, verified: boolean, bytes: number, place: () => void): boolean {
    return this.#transactions.exclusive(() => {
      if (this.opens.isOpen(entry.key)) return false;
      place();
      this.entries.put(entry);
      this.entries.setBytes(entry.key, bytes);
      this.entries.setComplete(entry.key, verified);
      return true;
    });
  }

  /**
   * Removes the entry unless it is open or pinned. `detach` runs inside the transaction and must make the files
   * unreachable under their name at once (a rename), so that nobody can open a half-removed entry.
   */
  evict(key: string, detach: () => void): boolean {
    return this.#transactions.exclusive(() => {
      const entry = this.entries.get(key);
      if (entry === undefined || entry.pinned === 1 || this.opens.isOpen(key)) return false;
      this.#remove(key, detach);
      return true;
    });
  }

  /** Removes an entry with wrong bytes, even if it is open. */
  discard(key: string, detach: () => void): void {
    this.#transactions.exclusive(() => this.#remove(key, detach));
  }

  /**
   * Gives an entry with wrong bytes another key, even if it is open. `move` runs inside the transaction and must rename the
   * files. Does nothing if the files were replaced meanwhile.
   */
  setAside(key: string, aside: NewEntry, presence: Presence, move: () => void): void {
    this.#transactions.exclusive(() => {
      if (!presence.isCurrent()) return;
      this.#remove(key, move);
      this.entries.restore(aside, presence.presentBytes(), Date.now());
    });
  }

  /** Forgets an entry whose files are lost, even if it is pinned, unless it is open. */
  evictLost(key: string, detach: () => void): boolean {
    return this.#transactions.exclusive(() => {
      if (this.entries.get(key) === undefined || this.opens.isOpen(key)) return false;
      this.#remove(key, detach);
      return true;
    });
  }

  /** Calls `detach` to remove files that no entry names, inside a transaction, so that nobody opens them meanwhile. */
  removeUnknown(key: string, detach: () => void): boolean {
    return this.#transactions.exclusive(() => {
      if (this.entries.get(key) !== undefined) return false;
      detach();
      return true;
    });
  }

  #remove(key: string, detach: () => void): void {
    detach();
    this.entries.delete(key);
    this.opens.deleteOf(key);
    this.claims.deleteOf(key);
  }
}
