/**
 * Which images use which layers, and which of the images are pinned: entries of the cache hold layers, and a layer stays as long as an
 * image that has it is pinned. An image is remembered when its layers are opened, and when it is pinned.
 */
import type { Database } from './database.ts';

export const LAYER_USES_SCHEMA = `
  CREATE TABLE layer_uses (
    uri TEXT NOT NULL,
    revision TEXT NOT NULL,
    entries TEXT NOT NULL,
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
  /** URIs of the entries of the cache that hold its layers, or may hold them. */
  readonly entries: readonly string[];
}

const prepare = (db: Database) => ({
  note: db.prepare(
    `INSERT INTO layer_uses (uri, revision, entries, used_at) VALUES (?, ?, ?, ?)
       ON CONFLICT (uri, revision) DO UPDATE SET used_at = excluded.used_at`,
  ),
  pin: db.prepare('UPDATE layer_uses SET pinned = 1 WHERE uri = ? AND revision = ?'),
  pinned: db.prepare<[string], { entries: string }>(
    'SELECT entries FROM layer_uses WHERE uri = ? AND pinned = 1',
  ),
  unpin: db.prepare('UPDATE layer_uses SET pinned = 0 WHERE uri = ?'),
  // Each of these entries is pinned if a pinned image has it.
  renew: db.prepare<[string]>(
    `UPDATE cache_entries SET pinned = EXISTS (
       SELECT 1 FROM layer_uses AS image, json_each(image.entries) AS layer
         WHERE image.pinned = 1 AND layer.value = cache_entries.uri
     ) WHERE uri IN (SELECT value FROM json_each(?))`,
  ),
  drop: db.prepare(
    `DELETE FROM layer_uses WHERE pinned = 0 AND used_at <
       (SELECT used_at FROM layer_uses WHERE pinned = 0 ORDER BY used_at DESC LIMIT 1 OFFSET ?)`,
  ),
  all: db.prepare<[], { uri: string; entries: string }>(
    'SELECT uri, entries FROM layer_uses ORDER BY pinned DESC, used_at DESC',
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
      this.#sql.renew.run(JSON.stringify(use.entries));
    });
  }

  /** Unpins every revision of an image; layers that another pinned image has stay pinned. Returns false if none was pinned. */
  unpin(uri: string): boolean {
    return this.#exclusive(() => {
      const pinned = this.#sql.pinned.all(uri);
      this.#sql.unpin.run(uri);
      for (const { entries } of pinned) this.#sql.renew.run(entries);
      return pinned.length > 0;
    });
  }

  /** URIs of the images that use each entry, by the URI of the entry; pinned ones first, then those used last. */
  byEntry(): ReadonlyMap<string, readonly string[]> {
    const images = new Map<string, Set<string>>();
    for (const { uri, entries } of this.#sql.all.all())
      for (const entry of JSON.parse(entries) as string[])
        images.set(entry, (images.get(entry) ?? new Set()).add(uri));
    return new Map([...images].map(([entry, uris]) => [entry, [...uris]]));
  }

  #put({ uri, revision, entries }: LayerUse): void {
    const list = JSON.stringify(entries);
    this.#sql.note.run(uri, revision, list, Date.now());
    this.#sql.renew.run(list);
    this.#sql.drop.run(MAX_IMAGES - 1);
  }

  #exclusive<T>(body: () => T): T {
    return this.#db.transaction(body).immediate();
  }
}
