/** What backends answered for names: an image, or that it does not exist. The caller decides how long to trust an answer. */
import type { RemoteImage } from '../image/remote.ts';
import type { Database } from './database.ts';
import { decodeImage, encodeImage } from './image-json.ts';
import type { TextIndex } from './text-index.ts';

export const REMOTES_SCHEMA = `
  CREATE TABLE remotes (
    backend TEXT NOT NULL,
    name TEXT NOT NULL,
    image TEXT,
    fetched_at INTEGER NOT NULL,
    PRIMARY KEY (backend, name)
  ) STRICT;
  CREATE INDEX remotes_absent ON remotes (fetched_at) WHERE image IS NULL;
`;

export interface Answer {
  /** Undefined: the service said that there is no such image. */
  readonly image: RemoteImage | undefined;
  /** Milliseconds since the epoch. */
  readonly fetchedAt: number;
}

/** An answer that held an image. */
export type SeenImage = Answer & { readonly image: RemoteImage };

interface RemoteRow {
  readonly image: string | null;
  readonly fetched_at: number;
}

const prepare = (db: Database) => ({
  get: db.prepare<[string, string], RemoteRow>(
    'SELECT image, fetched_at FROM remotes WHERE backend = ? AND name = ?',
  ),
  put: db.prepare('INSERT OR REPLACE INTO remotes VALUES (?, ?, ?, ?)'),
  forget: db.prepare('DELETE FROM remotes WHERE backend = ? AND name = ?'),
  forgetAll: db.prepare('DELETE FROM remotes WHERE backend = ?'),
  forgetAbsent: db.prepare('DELETE FROM remotes WHERE image IS NULL AND fetched_at < ?'),
  dropAbsent: db.prepare(
    `DELETE FROM remotes WHERE image IS NULL AND fetched_at <
       (SELECT fetched_at FROM remotes WHERE image IS NULL ORDER BY fetched_at DESC LIMIT 1 OFFSET ?)`,
  ),
  list: db.prepare<[string], RemoteRow & { image: string }>(
    'SELECT image, fetched_at FROM remotes WHERE backend = ? AND image IS NOT NULL ORDER BY name',
  ),
  listIn: db.prepare<[string, string, string, number], RemoteRow & { image: string }>(
    `SELECT image, fetched_at FROM remotes WHERE backend = ? AND image IS NOT NULL
       AND name >= ? AND name < ? AND instr(substr(name, ?), '/') = 0 ORDER BY name`,
  ),
});

/** Number of absent names to keep, the newest ones, give or take one step. They are kept only to save a question. */
const ABSENT_MAX = 5_000;
const ABSENT_STEP = 500;

/** Names are the caller's keys: one text for each image, such as `formatImageName` gives. */
export class Remotes {
  readonly #db: Database;
  readonly #sql: ReturnType<typeof prepare>;
  readonly #texts: TextIndex;
  /** Absent names noted since the oldest were dropped. */
  #absent = 0;

  constructor(db: Database, texts: TextIndex) {
    this.#db = db;
    this.#sql = prepare(db);
    this.#texts = texts;
  }

  get(backend: string, name: string): Answer | undefined {
    const row = this.#sql.get.get(backend, name);
    if (row === undefined) return undefined;
    return { image: row.image === null ? undefined : decodeImage(row.image), fetchedAt: row.fetched_at };
  }

  put(backend: string, name: string, answer: Answer): void {
    const image = answer.image === undefined ? null : encodeImage(answer.image);
    this.#db
      .transaction(() => {
        this.#sql.put.run(backend, name, image, answer.fetchedAt);
        if (answer.image === undefined) this.#noteAbsent(backend, name);
        else this.#texts.put(backend, name, answer.image);
      })
      .immediate();
  }

  #noteAbsent(backend: string, name: string): void {
    this.#texts.forget(backend, name);
    this.#absent += 1;
    if (this.#absent < ABSENT_STEP) return;
    this.#absent = 0;
    this.#sql.dropAbsent.run(ABSENT_MAX);
  }

  /** Forgets one name, or every name of the backend. */
  forget(backend: string, name?: string): void {
    if (name === undefined) this.#sql.forgetAll.run(backend);
    else this.#sql.forget.run(backend, name);
    this.#texts.forget(backend, name);
  }

  /** Forgets the names that were absent before `time`, in milliseconds since the epoch. */
  forgetAbsent(time: number): void {
    this.#sql.forgetAbsent.run(time);
  }

  /** Every image seen, by name. */
  list(backend: string): SeenImage[] {
    return this.#sql.list.all(backend).map(toSeen);
  }

  /** The images seen directly in a collection, by name; `''` is the top. */
  listIn(backend: string, collection: string): SeenImage[] {
    const prefix = collection === '' ? '' : `${collection}/`;
    // The character after the slash bounds the names that begin with the prefix.
    const end = collection === '' ? '\u{10ffff}' : `${collection}0`;
    return this.#sql.listIn.all(backend, prefix, end, prefix.length + 1).map(toSeen);
  }
}

function toSeen(row: RemoteRow & { image: string }): SeenImage {
  return { image: decodeImage(row.image), fetchedAt: row.fetched_at };
}
