/**
 * What is known of the layers of containers, and of images made of them: so that the next opening needs to read no layer to tell what
 * is in it, an image that was opened before needs nothing made, and `stat` tells the right size. All of it can be made again from the
 * layers.
 */
import { ENTRIES_FORMAT } from '../image/layers/packed-entries.ts';
import { LAYOUT } from '../image/squashfs/describe.ts';
import type { Database } from './database.ts';

export const LAYERS_SCHEMA = `
  CREATE TABLE layers (
    diff_id TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    format INTEGER NOT NULL,
    entries BLOB,
    used_at INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX layers_used_at ON layers (used_at);
  CREATE TABLE layered_images (
    revision TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    used_at INTEGER NOT NULL
  ) STRICT;
`;

/** Keeps the tables of images. The size of a layer is what the cache's index says. */
export const LAYER_TABLES_SCHEMA = `
  DROP TABLE layers;
  DROP TABLE layered_images;
  CREATE TABLE layer_entries (
    diff_id TEXT PRIMARY KEY,
    format INTEGER NOT NULL,
    used_at INTEGER NOT NULL,
    entries BLOB NOT NULL
  ) STRICT;
  CREATE INDEX layer_entries_used_at ON layer_entries (used_at);
  CREATE TABLE layered_images (
    revision TEXT PRIMARY KEY,
    layout INTEGER NOT NULL,
    size INTEGER NOT NULL,
    used_at INTEGER NOT NULL,
    tables BLOB
  ) STRICT;
  CREATE INDEX layered_images_used_at ON layered_images (used_at);
`;

/** How layers are read in parts. */
export const LAYER_SPANS_SCHEMA = `
  CREATE TABLE layer_spans (
    key TEXT PRIMARY KEY,
    used_at INTEGER NOT NULL,
    spans BLOB NOT NULL
  ) STRICT;
  CREATE INDEX layer_spans_used_at ON layer_spans (used_at);
`;

export interface KnownLimits {
  /** Bytes of what is known of one layer, or of the tables of one image, that are worth keeping: making them again takes seconds. */
  readonly one: number;
  /** Bytes to keep of entries, as many of spans and as many of tables: those that were used last. */
  readonly bytes: number;
  /** Images whose size is kept. */
  readonly images: number;
}

const LIMITS: KnownLimits = { one: 32 * 1024 * 1024, bytes: 256 * 1024 * 1024, images: 20_000 };

/** Rows of a table that were used before the last ones whose bytes are as many as the parameter says. */
const beyond = (table: string, key: string, blob: string) =>
  `${key} IN (SELECT ${key} FROM (SELECT ${key}, SUM(COALESCE(LENGTH(${blob}), 0)) OVER (ORDER BY used_at DESC, rowid DESC) AS bytes
     FROM ${table}) WHERE bytes > ?)`;

const prepare = (db: Database) => ({
  entries: db.prepare<[string, number], { entries: Buffer }>(
    'SELECT entries FROM layer_entries WHERE diff_id = ? AND format = ?',
  ),
  touchEntries: db.prepare('UPDATE layer_entries SET used_at = ? WHERE diff_id = ?'),
  putEntries: db.prepare('INSERT OR REPLACE INTO layer_entries VALUES (?, ?, ?, ?)'),
  dropEntries: db.prepare(`DELETE FROM layer_entries WHERE ${beyond('layer_entries', 'diff_id', 'entries')}`),
  spans: db.prepare<[string], { spans: Buffer }>('SELECT spans FROM layer_spans WHERE key = ?'),
  touchSpans: db.prepare('UPDATE layer_spans SET used_at = ? WHERE key = ?'),
  putSpans: db.prepare('INSERT OR REPLACE INTO layer_spans VALUES (?, ?, ?)'),
  dropSpans: db.prepare(`DELETE FROM layer_spans WHERE ${beyond('layer_spans', 'key', 'spans')}`),
  size: db.prepare<[string, number], { size: number }>(
    'SELECT size FROM layered_images WHERE revision = ? AND layout = ?',
  ),
  image: db.prepare<[string, number], { tables: Buffer | null }>(
    'SELECT tables FROM layered_images WHERE revision = ? AND layout = ?',
  ),
  touchImage: db.prepare('UPDATE layered_images SET used_at = ? WHERE revision = ?'),
  putImage: db.prepare('INSERT OR REPLACE INTO layered_images VALUES (?, ?, ?, ?, ?)'),
  forgetImages: db.prepare('DELETE FROM layered_images'),
  dropOld: db.prepare('DELETE FROM layered_images WHERE layout <> ?'),
  dropTables: db.prepare(
    `UPDATE layered_images SET tables = NULL WHERE tables IS NOT NULL AND ${beyond('layered_images', 'revision', 'tables')}`,
  ),
  dropImages: db.prepare(
    `DELETE FROM layered_images WHERE used_at <
       (SELECT used_at FROM layered_images ORDER BY used_at DESC LIMIT 1 OFFSET ?)`,
  ),
});

export class KnownLayers {
  readonly #db: Database;
  readonly #sql: ReturnType<typeof prepare>;
  readonly #limits: KnownLimits;

  constructor(db: Database, limits = LIMITS) {
    this.#limits = limits;
    this.#db = db;
    this.#sql = prepare(db);
  }

  /**
   * What is in a layer, as packed-entries.ts has it.
   * @param key the layer's diff id, or what else names the data that it is read as.
   */
  entriesOf(key: string): Uint8Array | undefined {
    const row = this.#sql.entries.get(key, ENTRIES_FORMAT);
    if (row !== undefined) this.#sql.touchEntries.run(Date.now(), key);
    return row?.entries;
  }

  put(key: string, entries: Uint8Array): void {
    if (entries.length > this.#limits.one) return;
    this.#together(() => {
      this.#sql.putEntries.run(key, ENTRIES_FORMAT, Date.now(), entries);
      this.#sql.dropEntries.run(this.#limits.bytes);
    });
  }

  /** How to read the data of a layer in parts, as it was put. */
  spansOf(key: string): Buffer | undefined {
    const row = this.#sql.spans.get(key);
    if (row !== undefined) this.#sql.touchSpans.run(Date.now(), key);
    return row?.spans;
  }

  putSpans(key: string, spans: Uint8Array): void {
    if (spans.length > this.#limits.one) return;
    this.#together(() => {
      this.#sql.putSpans.run(key, Date.now(), spans);
      this.#sql.dropSpans.run(this.#limits.bytes);
    });
  }

  /** Forgets what was described, after a layer turned out to be other than was said. */
  forgetImages(): void {
    this.#sql.forgetImages.run();
  }

  /** Bytes of an image made of layers, if it was opened before. `revision` names its bytes. */
  sizeOf(revision: string): number | undefined {
    return this.#sql.size.get(revision, LAYOUT)?.size;
  }

  /** The image described over its layers, as packed-image.ts has it. */
  imageOf(revision: string): Uint8Array | undefined {
    const row = this.#sql.image.get(revision, LAYOUT);
    if (row !== undefined) this.#sql.touchImage.run(Date.now(), revision);
    return row?.tables ?? undefined;
  }

  putImage(revision: string, size: number, tables: Uint8Array): void {
    const kept = tables.length > this.#limits.one ? null : tables;
    this.#together(() => {
      this.#sql.putImage.run(revision, LAYOUT, size, Date.now(), kept);
      this.#sql.dropOld.run(LAYOUT);
      this.#sql.dropTables.run(this.#limits.bytes);
      this.#sql.dropImages.run(this.#limits.images - 1);
    });
  }

  #together(write: () => void): void {
    this.#db.transaction(write).immediate();
  }
}
