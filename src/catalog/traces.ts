/**
 * Start-up traces: which bytes a container touched in the first seconds after its image was opened cold, so that they can be fetched
 * at once the next time. Never needed for a right answer.
 */
import type { Database } from './database.ts';

export const TRACES_SCHEMA = `
  CREATE TABLE traces (
    image TEXT PRIMARY KEY,
    ranges TEXT NOT NULL,
    used_at INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX traces_used_at ON traces (used_at);
`;

/** Traces to keep, those that were used last. One has at most some tens of kilobytes. */
const MAX_TRACES = 2_000;

const prepare = (db: Database) => ({
  get: db.prepare<[string], { ranges: string }>('SELECT ranges FROM traces WHERE image = ?'),
  put: db.prepare('INSERT OR REPLACE INTO traces VALUES (?, ?, ?)'),
  drop: db.prepare(
    `DELETE FROM traces WHERE used_at <
       (SELECT used_at FROM traces ORDER BY used_at DESC LIMIT 1 OFFSET ?)`,
  ),
});

export class Traces {
  readonly #db: Database;
  readonly #sql: ReturnType<typeof prepare>;

  constructor(db: Database) {
    this.#db = db;
    this.#sql = prepare(db);
  }

  /** The text that {@link put} got last for an image, which a digest names, or whatever else changes with its bytes. */
  get(image: string): string | undefined {
    return this.#sql.get.get(image)?.ranges;
  }

  put(image: string, ranges: string): void {
    this.#db
      .transaction(() => {
        this.#sql.put.run(image, ranges, Date.now());
        this.#sql.drop.run(MAX_TRACES - 1);
      })
      .immediate();
  }
}
