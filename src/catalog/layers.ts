/**
 * What is known of the layers of containers, and of images made of them: so that the next opening needs to read no layer to tell what
 * is in it, and `stat` tells the right size. All of it can be made again from the layers.
 */
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import type { LayerEntry } from '../image/layers/entry.ts';
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

export const LAYER_SPANS_SCHEMA = `
  ALTER TABLE layers ADD COLUMN spans BLOB;
`;

/** Number of the form of entries. A change of what the reader of archives gives changes it. */
const FORMAT = 1;
/** Bytes of compressed entries, or spans, that are worth keeping; reading a larger archive again takes seconds. */
const MAX_PACKED = 32 * 1024 * 1024;
/** Entries beyond which text of them would become too long. */
const MAX_COUNT = 1_000_000;
/** Rows to keep, the ones that were used last. */
const MAX_LAYERS = 2_000;
const MAX_IMAGES = 20_000;

export interface KnownLayer {
  /** Bytes of the archive, or of the data that the layer is read as. */
  readonly size: number;
  /** Undefined if they were too many to keep. */
  readonly entries: readonly LayerEntry[] | undefined;
  /** How to decode the data in parts, as the reader of its kind of layers keeps it. */
  readonly spans?: Buffer | undefined;
}

const prepare = (db: Database) => ({
  get: db.prepare<[string], { size: number; format: number; entries: Buffer | null; spans: Buffer | null }>(
    'SELECT size, format, entries, spans FROM layers WHERE diff_id = ?',
  ),
  layerSize: db.prepare<[string], { size: number }>('SELECT size FROM layers WHERE diff_id = ?'),
  touch: db.prepare('UPDATE layers SET used_at = ? WHERE diff_id = ?'),
  put: db.prepare('INSERT OR REPLACE INTO layers VALUES (?, ?, ?, ?, ?, ?)'),
  drop: db.prepare(
    'DELETE FROM layers WHERE used_at < (SELECT used_at FROM layers ORDER BY used_at DESC LIMIT 1 OFFSET ?)',
  ),
  size: db.prepare<[string], { size: number }>('SELECT size FROM layered_images WHERE revision = ?'),
  putSize: db.prepare('INSERT OR REPLACE INTO layered_images VALUES (?, ?, ?)'),
  dropSizes: db.prepare(
    `DELETE FROM layered_images WHERE used_at <
       (SELECT used_at FROM layered_images ORDER BY used_at DESC LIMIT 1 OFFSET ?)`,
  ),
});

export class KnownLayers {
  readonly #sql: ReturnType<typeof prepare>;

  constructor(db: Database) {
    this.#sql = prepare(db);
  }

  /** @param key the diff id of a layer, or what else names the data that it is read as. */
  get(key: string): KnownLayer | undefined {
    const row = this.#sql.get.get(key);
    if (row === undefined) return undefined;
    this.#sql.touch.run(Date.now(), key);
    const isCurrent = row.entries !== null && row.format === FORMAT;
    const spans = row.spans === null ? undefined : zstdDecompressSync(row.spans);
    return { size: row.size, entries: isCurrent ? decode(row.entries as Buffer) : undefined, spans };
  }

  /** Bytes of the data of a layer, if it is known. */
  sizeOfLayer(key: string): number | undefined {
    return this.#sql.layerSize.get(key)?.size;
  }

  put(key: string, { size, entries, spans }: KnownLayer): void {
    const isKept = entries !== undefined && entries.length <= MAX_COUNT;
    const packed = isKept ? pack(JSON.stringify(entries)) : undefined;
    this.#sql.put.run(key, size, FORMAT, packed ?? null, Date.now(), (spans && pack(spans)) ?? null);
    this.#sql.drop.run(MAX_LAYERS - 1);
  }

  /** Bytes of an image made of layers, if it was opened before. `revision` names its bytes. */
  sizeOf(revision: string): number | undefined {
    return this.#sql.size.get(revision)?.size;
  }

  putSize(revision: string, size: number): void {
    this.#sql.putSize.run(revision, size, Date.now());
    this.#sql.dropSizes.run(MAX_IMAGES - 1);
  }
}

/** Undefined if that is too much to keep. */
function pack(what: string | Buffer): Buffer | undefined {
  const packed = zstdCompressSync(what);
  return packed.length <= MAX_PACKED ? packed : undefined;
}

function decode(packed: Buffer): LayerEntry[] {
  return JSON.parse(zstdDecompressSync(packed).toString()) as LayerEntry[];
}
