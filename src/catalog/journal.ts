/**
 * The journal of pushes: every image that someone wrote and that is not yet in its registry, so that neither a crash nor an
 * unreachable service loses one. The staged files themselves lie beside the database. A record belongs to one process at a
 * time. When that process is dead, another may adopt the record.
 */
import { randomUUID } from 'node:crypto';
import { basename } from 'node:path';
import type { ProcessId } from '../base/process.ts';
import type { Database } from './database.ts';
import type { IsAlive } from './owners.ts';
import {
  fromRow,
  type NewPush,
  type PushChanges,
  type PushRecord,
  type PushRow,
  toRow,
} from './push-record.ts';

const SUPERSEDED = {
  error: 'Another image has been written to this name since',
  hint: 'sregistry push --kept pushes it anyway; sregistry push --drop removes it',
} as const;

/** Milliseconds without progress after which other pushes do not wait for a push. */
const STUCK = 30_000;

/** Number of refused pushes to keep, the newest ones. They are kept only to be shown. */
const REFUSED_KEPT = 100;

const prepare = (db: Database) => ({
  get: db.prepare<[string], PushRow>('SELECT * FROM pushes WHERE id = ?'),
  // A staged file is what the path holds. A refused attempt after it changed nothing.
  findByPath: db.prepare<[string, string], PushRow>(
    `SELECT * FROM pushes WHERE backend = ? AND path = ?
       ORDER BY staged IS NULL, created DESC, rowid DESC LIMIT 1`,
  ),
  list: db.prepare<[], PushRow>('SELECT * FROM pushes ORDER BY created, rowid'),
  insert: db.prepare<[PushRow]>(
    `INSERT INTO pushes VALUES (@id, @backend, @path, @uri, @state, @bytes, @size, @error, @hint, @staged, @created,
       @updated, @pid, @start_time, @resume, @annotations, @closed_at, @superseded)`,
  ),
  update: db.prepare<[PushRow]>(
    `UPDATE pushes SET backend = @backend, path = @path, uri = @uri, state = @state, bytes = @bytes, size = @size,
       error = @error, hint = @hint, staged = @staged, updated = @updated, pid = @pid, start_time = @start_time,
       resume = @resume, annotations = @annotations, closed_at = @closed_at, superseded = @superseded
       WHERE id = @id`,
  ),
  remove: db.prepare('DELETE FROM pushes WHERE id = ?'),
  dropRefused: db.prepare(
    `DELETE FROM pushes WHERE state = 'refused' AND id NOT IN
       (SELECT id FROM pushes WHERE state = 'refused' ORDER BY updated DESC, rowid DESC LIMIT ${REFUSED_KEPT})`,
  ),
});

export class Journal {
  readonly #db: Database;
  /** Is the owner of a record alive? */
  readonly isAlive: IsAlive;
  readonly #sql: ReturnType<typeof prepare>;

  constructor(db: Database, isAlive: IsAlive) {
    this.#db = db;
    this.isAlive = isAlive;
    this.#sql = prepare(db);
  }

  create(push: NewPush): PushRecord {
    const now = Date.now();
    const record = { ...push, id: randomUUID(), created: now, updated: now };
    return this.#exclusive(() => {
      this.#sql.insert.run(toRow(record));
      this.#dropOldRefused(record);
      return record;
    });
  }

  /** Adds a record of a staged file that has none. Of several processes that try at once, one succeeds. */
  recover(push: NewPush & { readonly staged: string }): void {
    this.#exclusive(() => {
      const isKnown = this.list().some(
        ({ staged }) => staged !== undefined && basename(staged) === basename(push.staged),
      );
      if (!isKnown) this.create(push);
    });
  }

  /** Changes the properties that `changes` names; undefined clears a property. Returns undefined if the record is gone. */
  update(id: string, changes: PushChanges): PushRecord | undefined {
    return this.#exclusive(() => this.#change(this.get(id), changes));
  }

  get(id: string): PushRecord | undefined {
    return optional(this.#sql.get.get(id));
  }

  /** The record of the file staged last at `path`, else of the file refused last there. */
  findByPath(backend: string, path: string): PushRecord | undefined {
    return optional(this.#sql.findByPath.get(backend, path));
  }

  /** Every record, oldest first. */
  list(): PushRecord[] {
    return this.#sql.list.all().map(fromRow);
  }

  /**
   * Notes that an image was pushed to `uri` that was whole at `since` (milliseconds since the epoch). Files that were closed
   * for that name before are pushed only on request from then on. A push under way by a living process continues; if it fails,
   * it is not tried again.
   */
  supersede(uri: string, since: number): void {
    this.#exclusive(() => {
      for (const record of this.list()) {
        if (record.uri !== uri || closedAt(record) >= since) continue;
        if (this.#isLeft(record)) this.setAside(record.id);
        else if (record.state === 'pushing') this.update(record.id, { superseded: true });
      }
    });
  }

  /**
   * Is a living process writing or pushing a newer file of the same name? A file being written is newer than every closed one.
   */
  hasNewer(record: PushRecord): boolean {
    return this.list().some(
      (other) =>
        other.uri === record.uri &&
        other.id !== record.id &&
        (other.state === 'staging' || (other.state === 'pushing' && closedAt(other) > closedAt(record))) &&
        this.isAlive(other.owner),
    );
  }

  /**
   * Is a living process pushing a file of the same name that was closed before this one, and does that push progress? Of two
   * pushes at the same time, either may end last.
   */
  isOlderUnderWay(id: string): boolean {
    const record = this.get(id);
    if (record === undefined) return false;
    return this.list().some(
      (other) =>
        other.uri === record.uri &&
        other.id !== id &&
        other.state === 'pushing' &&
        closedAt(other) < closedAt(record) &&
        other.updated > Date.now() - STUCK &&
        this.isAlive(other.owner),
    );
  }

  /** Only lists a file from now on, and does not push it: a newer one has its name. */
  setAside(id: string): void {
    this.update(id, { state: 'incomplete', superseded: true, ...SUPERSEDED });
  }

  /** Records that `owner` may {@link adopt}, oldest first. */
  listAdoptable(owner: ProcessId): PushRecord[] {
    return this.list().filter((record) => this.#isFreeFor(record, owner));
  }

  /** Removes a record. Not an error if it is gone already. */
  remove(id: string): void {
    this.#sql.remove.run(id);
  }

  /**
   * Makes `owner` the owner of a record whose present owner is dead, or is `owner` itself. Of several processes that try at
   * once, one succeeds. Returns undefined if another living process owns the record, or if it is gone.
   */
  adopt(id: string, owner: ProcessId): PushRecord | undefined {
    return this.#exclusive(() => {
      const record = this.get(id);
      if (record === undefined || !this.#isFreeFor(record, owner)) return undefined;
      return this.#change(record, { owner });
    });
  }

  #change(record: PushRecord | undefined, changes: PushChanges): PushRecord | undefined {
    if (record === undefined) return undefined;
    const wanted = { ...record, ...changes, updated: Date.now() };
    const isOutdated = wanted.state === 'kept' && wanted.superseded;
    const changed: PushRecord = isOutdated ? { ...wanted, state: 'incomplete', ...SUPERSEDED } : wanted;
    this.#sql.update.run(toRow(changed));
    this.#dropOldRefused(changed);
    return changed;
  }

  #dropOldRefused(record: PushRecord): void {
    if (record.state === 'refused') this.#sql.dropRefused.run();
  }

  /** Would the next mount push it? */
  #isLeft({ state, owner }: PushRecord): boolean {
    return state === 'kept' || (state === 'pushing' && !this.isAlive(owner));
  }

  #isFreeFor(record: PushRecord, owner: ProcessId): boolean {
    return isSame(record.owner, owner) || !this.isAlive(record.owner);
  }

  #exclusive<T>(body: () => T): T {
    return this.#db.transaction(body).immediate();
  }
}

/** When the bytes of a closed file were found whole, as far as its record tells. */
export function closedAt(record: PushRecord): number {
  return record.closedAt ?? record.created;
}

function optional(row: PushRow | undefined): PushRecord | undefined {
  return row === undefined ? undefined : fromRow(row);
}

function isSame(one: ProcessId, other: ProcessId): boolean {
  return one.pid === other.pid && one.startTime === other.startTime;
}
