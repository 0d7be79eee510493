/**
 * Which images use which layers, and which of the images are pinned: entries of the cache hold layers, and a layer stays as long as an
 * image that has it is pinned. An image is remembered when its layers are opened, and when it is pinned.
 */
import type { Database } from './database.ts';

export const LAYER_USES_SCHEMA = `
  CREATE TABLE layer_uses (
    uri TEXT NOT NULL,
    revision TEXT NOT NULL,
    diff_ids TEXT NOT NULL,
    pinned INTEGER NOT NULL DEFAULT 0,
    used_at INTEGER NOT NULL,
    PRIMARY KEY (uri, revision)
  ) STRICT;
  CREATE INDEX layer_uses_used_at ON layer_uses (used_at);
`;

/** Images to remember that are not pinned, the ones that were used last. */
const MAX_IMAGES = 5_000;

/** One revision of an image in layers. */
export interface LayerUse {
  readonly uri: string;
  readonly revision: string;
  /** `sha256:<hex>` of the archive of each layer. */
  readonly diffIds: readonly string[];
}

const prepare = (db: Database) => ({
  note: db.prepare(
    `INSERT INTO layer_uses (uri, revision, diff_ids, used_at) VALUES (?, ?, ?, ?)
       ON CONFLICT (uri, revision) DO UPDATE SET used_at = excluded.used_at`,
  ),
  pin: db.prepare('UPDATE layer_uses SET pinned = 1 WHERE uri = ? AND revision = ?'),
  pinned: db.prepare<[string], { diff_ids: string }>(
    'SELECT diff_ids FROM layer_uses WHERE uri = ? AND pinned = 1',
  ),
  unpin: db.prepare('UPDATE layer_uses SET pinned = 0 WHERE uri = ?'),
  // Entries of the layers of these images: pinned if a pinned image has them.
  renew: db.prepare<[string]>(
    `UPDATE cache_entries SET pinned = EXISTS (
       SELECT 1 FROM layer_uses AS image, json_each(image.diff_ids) AS layer
         WHERE image.pinned = 1 AND layer.value = cache_entries.digest
     ) WHERE digest IN (SELECT value FROM json_each(?))`,
  ),
  drop: db.prepare(
    `DELETE FROM layer_uses WHERE pinned = 0 AND used_at <
       (SELECT used_at FROM layer_uses WHERE pinned = 0 ORDER BY used_at DESC LIMIT 1 OFFSET ?)`,
  ),
  all: db.prepare<[], { uri: string; diff_ids: string }>(
    'SELECT uri, diff_ids FROM layer_uses ORDER BY pinned DESC, used_at DESC',
  ),
});

export class LayerUses {
  readonly #db: Database;
  readonly #sql: ReturnType<typeof prepare>;

  constructor(db: Database) {
    this.#db = db;
    this.#sql = prepare(db);
  }

  /** Notes that the layers are in use, and pins those that just came into the cache if an image that has them is pinned. */
  note(use: LayerUse): void {
    this.#exclusive(() => this.#put(use));
  }

  /** Pins the layers that the cache has, and those that it will have. */
  pin(use: LayerUse): void {
    this.#exclusive(() => {
      this.#put(use);
      this.#sql.pin.run(use.uri, use.revision);
      this.#sql.renew.run(JSON.stringify(use.diffIds));
    });
  }

  /** Unpins every revision of an image; layers that another pinned image has stay pinned. Returns false if none was pinned. */
  unpin(uri: string): boolean {
    return this.#exclusive(() => {
      const pinned = this.#sql.pinned.all(uri);
      this.#sql.unpin.run(uri);
      for (const { diff_ids } of pinned) this.#sql.renew.run(diff_ids);
      return pinned.length > 0;
    });
  }

  /** URIs of the images that use each layer, by the digest of its archive; pinned ones first, then those used last. */
  byLayer(): ReadonlyMap<string, readonly string[]> {
    const images = new Map<string, Set<string>>();
    for (const { uri, diff_ids } of this.#sql.all.all())
      for (const id of JSON.parse(diff_ids) as string[])
        images.set(id, (images.get(id) ?? new Set()).add(uri));
    return new Map([...images].map(([id, uris]) => [id, [...uris]]));
  }

  #put({ uri, revision, diffIds }: LayerUse): void {
    const ids = JSON.stringify(diffIds);
    this.#sql.note.run(uri, revision, ids, Date.now());
    this.#sql.renew.run(ids);
    this.#sql.drop.run(MAX_IMAGES - 1);
  }

  #exclusive<T>(body: () => T): T {
    return this.#db.transaction(body).immediate();
  }
}
