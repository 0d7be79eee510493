/** The tables of sregistry.db: finds, adds, changes and removes containers. It touches no files. */
import { randomUUID } from 'node:crypto';
import { folderOf, type ImageName } from '../image/name.ts';
import { formatImageName } from '../image/names.ts';
import { type ContainerRow, formatTime, fromRow } from './container.ts';
import type { Database } from './database.ts';

const SELECT = `SELECT container.*, collection.name AS collection
  FROM container JOIN collection ON collection.id = container.collection_id`;

/** Most names are lower case, but some services keep case. So an equal spelling comes first, then the newest row. */
const FIND = `${SELECT}
  WHERE container.name = @image COLLATE NOCASE AND container.tag = @tag COLLATE NOCASE
    AND (@version IS NULL OR container.version IN (@version, @hex))
  ORDER BY container.name = @image AND container.tag = @tag DESC, container.created_at DESC, container.id DESC`;

const SEARCH = `${SELECT}
  WHERE @pattern IS NULL OR container.name LIKE @pattern ESCAPE '\\' OR container.tag LIKE @pattern ESCAPE '\\'
    OR container.uri LIKE @pattern ESCAPE '\\'
    OR collection.name || '/' || container.name || ':' || container.tag LIKE @pattern ESCAPE '\\'
  ORDER BY collection.name, container.name, container.tag, container.created_at DESC, container.id DESC`;

const prepare = (db: Database) => ({
  find: db.prepare<[Record<string, string | null>], ContainerRow>(FIND),
  search: db.prepare<[{ pattern: string | null }], ContainerRow>(SEARCH),
  byId: db.prepare<[number], ContainerRow>(`${SELECT} WHERE container.id = ?`),
  byVersion: db.prepare<[string, string], ContainerRow>(`${SELECT} WHERE container.version IN (?, ?)`),
  byFile: db.prepare<[string], ContainerRow>(`${SELECT} WHERE container.image = ?`),
  same: db.prepare<[Record<string, string | number>], { id: number; metrics: string }>(
    `SELECT id, metrics FROM container WHERE collection_id = @collection_id AND name = @name AND tag = @tag
       AND COALESCE(version, '') = @version ORDER BY client = @client DESC, id DESC LIMIT 1`,
  ),
  addCollection: db.prepare('INSERT OR IGNORE INTO collection (name, token, created_at) VALUES (?, ?, ?)'),
  collection: db.prepare<[string], { id: number }>('SELECT id FROM collection WHERE name = ?'),
  insert: db.prepare(
    `INSERT INTO container (created_at, metrics, name, tag, image, url, uri, client, version, collection_id)
       VALUES (@created_at, @metrics, @name, @tag, @image, @url, @uri, @client, @version, @collection_id)`,
  ),
  update: db.prepare(
    `UPDATE container SET created_at = @created_at, metrics = @metrics, image = COALESCE(@image, image),
       url = COALESCE(@url, url), uri = @uri, client = @client WHERE id = @id`,
  ),
  rename: db.prepare(
    `UPDATE container SET created_at = @created_at, name = @name, tag = @tag, uri = @uri, image = @image,
       collection_id = @collection_id WHERE id = @id`,
  ),
  setFile: db.prepare('UPDATE container SET image = ? WHERE id = ?'),
  remove: db.prepare('DELETE FROM container WHERE id = ?'),
});

/** What a row is made from. */
export interface NewContainer {
  readonly name: ImageName;
  readonly file: string | undefined;
  readonly url: string | undefined;
  readonly client: string;
  readonly metrics: Readonly<Record<string, unknown>>;
}

export class Containers {
  readonly #db: Database;
  readonly #sql: ReturnType<typeof prepare>;

  constructor(db: Database) {
    this.#db = db;
    this.#sql = prepare(db);
  }

  /** Runs `body` as one transaction that excludes every other writer, of any process. */
  exclusive<T>(body: () => T): T {
    return this.#db.transaction(body).immediate();
  }

  /** The newest row of that name; from any registry if the name has none. */
  find(name: ImageName): ContainerRow | undefined {
    const version = name.version ?? null;
    const hex = version?.replace(/^sha256:/, '') ?? null;
    const rows = this.#sql.find.all({ image: name.image, tag: name.tag, version, hex });
    const folder = folderOf(name).toLowerCase();
    const inFolder = rows.find((row) => folderOf(fromRow(row).name).toLowerCase() === folder);
    return inFolder ?? rows.find((row) => row.collection.toLowerCase() === folder);
  }

  /** Rows whose name, tag or URI holds `text`; every row if it is undefined. By name, then the newest first. */
  search(text?: string): ContainerRow[] {
    const pattern = text === undefined ? null : `%${text.replace(/[\\%_]/g, '\\$&')}%`;
    return this.#sql.search.all({ pattern });
  }

  get(id: number): ContainerRow | undefined {
    return this.#sql.byId.get(id);
  }

  withVersion(version: string, other: string): ContainerRow[] {
    return this.#sql.byVersion.all(version, other);
  }

  withFile(path: string): ContainerRow[] {
    return this.#sql.byFile.all(path);
  }

  /** Adds a container, or updates the row of the same name and version and merges its metrics. */
  put(container: NewContainer): ContainerRow {
    const { name, file, url, client } = container;
    const collection_id = this.#collection(name.collection);
    const version = name.version ?? '';
    const same = this.#sql.same.get({ collection_id, name: name.image, tag: name.tag, version, client });
    const values = {
      created_at: formatTime(new Date()),
      metrics: JSON.stringify({ ...JSON.parse(same?.metrics ?? '{}'), ...container.metrics }),
      image: file ?? null,
      url: url ?? null,
      uri: formatImageName(name),
      client,
    };
    if (same !== undefined) {
      this.#sql.update.run({ ...values, id: same.id });
      return this.get(same.id) as ContainerRow;
    }
    const { lastInsertRowid } = this.#sql.insert.run({
      ...values,
      name: name.image,
      tag: name.tag,
      version,
      collection_id,
    });
    return this.get(Number(lastInsertRowid)) as ContainerRow;
  }

  /**
   * Renames a row and moves its file. The row keeps its version and becomes the newest of its new name. Returns undefined if
   * the row is gone.
   */
  rename(id: number, name: ImageName, file: string | undefined): ContainerRow | undefined {
    this.#sql.rename.run({
      id,
      created_at: formatTime(new Date()),
      name: name.image,
      tag: name.tag,
      uri: formatImageName(name),
      image: file ?? null,
      collection_id: this.#collection(name.collection),
    });
    return this.get(id);
  }

  setFile(id: number, path: string): ContainerRow | undefined {
    this.#sql.setFile.run(path, id);
    return this.get(id);
  }

  remove(id: number): void {
    this.#sql.remove.run(id);
  }

  /** Id of the collection; adds a new one. Each gets a token, as in the Python client. */
  #collection(name: string): number {
    this.#sql.addCollection.run(name, randomUUID(), formatTime(new Date()));
    return (this.#sql.collection.get(name) as { id: number }).id;
  }
}
