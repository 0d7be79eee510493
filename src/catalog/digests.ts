/** The sha256 of stored files. A digest holds as long as its file keeps the revision it had when it was hashed. */
import { statSync } from 'node:fs';
import { fileRevision } from '../base/files.ts';
import type { Database } from './database.ts';

const prepare = (db: Database) => ({
  get: db.prepare<[string], { digest: string; revision: string }>(
    'SELECT digest, revision FROM sregistry_digest WHERE path = ?',
  ),
  paths: db.prepare<[string], { path: string }>('SELECT path FROM sregistry_digest WHERE digest = ?'),
  put: db.prepare('INSERT OR REPLACE INTO sregistry_digest (path, digest, revision) VALUES (?, ?, ?)'),
  remove: db.prepare('DELETE FROM sregistry_digest WHERE path = ?'),
});

export class Digests {
  readonly #sql: ReturnType<typeof prepare>;

  constructor(db: Database) {
    this.#sql = prepare(db);
  }

  /** `sha256:<hex>` of the file at `path` as it is now; undefined if that is not known. */
  get(path: string): string | undefined {
    const known = this.#sql.get.get(path);
    return known !== undefined && known.revision === revisionAt(path) ? known.digest : undefined;
  }

  /** Files that had this digest once. */
  paths(digest: string): string[] {
    return this.#sql.paths.all(digest).map(({ path }) => path);
  }

  /** Notes that the file at `path`, as it is now, has this digest. */
  put(path: string, digest: string): void {
    this.#sql.put.run(path, digest, revisionAt(path));
  }

  remove(path: string): void {
    this.#sql.remove.run(path);
  }
}

function revisionAt(path: string): string | undefined {
  const stats = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stats === undefined ? undefined : fileRevision(stats);
}
