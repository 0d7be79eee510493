/**
 * A full-text index (SQLite FTS5) of every image that was seen: names, labels, definition files and help texts. It follows
 * {@link Remotes}, and also learns what was read in an image. It keeps only the words of texts, but whole labels, for exact
 * matches.
 */
import { INSPECT_KEY, readAnnotations } from '../image/annotations.ts';
import type { Attributes } from '../image/attributes.ts';
import { formatImageName } from '../image/names.ts';
import type { RemoteImage } from '../image/remote.ts';
import type { Database } from './database.ts';

export const TEXT_INDEX_SCHEMA = `
  CREATE TABLE seen (
    id INTEGER PRIMARY KEY,
    backend TEXT NOT NULL,
    name TEXT NOT NULL,
    revision TEXT NOT NULL,
    labels TEXT NOT NULL,
    inspected INTEGER NOT NULL,
    UNIQUE (backend, name)
  ) STRICT;
  CREATE VIRTUAL TABLE seen_text USING fts5 (name, labels, deffile, help, content = '', contentless_delete = 1);
`;

export type Labels = Readonly<Record<string, string>>;

interface SeenRow {
  readonly id: number;
  readonly revision: string;
  readonly labels: string;
  /** Is everything known that `inspect` tells? Else only the labels are. */
  readonly inspected: 0 | 1;
}

interface Entry {
  readonly backend: string;
  readonly name: string;
  readonly revision: string;
  readonly attributes: Attributes;
  readonly inspected: boolean;
}

/** Number of words of a query that count. SQLite nests an expression for each, 256 deep at most. */
const MAX_WORDS = 32;
/** Number of characters of a query that count. */
const MAX_QUESTION = 1024;

const prepare = (db: Database) => ({
  get: db.prepare<[string, string], SeenRow>(
    'SELECT id, revision, labels, inspected FROM seen WHERE backend = ? AND name = ?',
  ),
  list: db.prepare<[string], { name: string; labels: string }>(
    'SELECT name, labels FROM seen WHERE backend = ? ORDER BY name',
  ),
  put: db.prepare<[string, string, string, string, number], { id: number }>(
    `INSERT INTO seen (backend, name, revision, labels, inspected) VALUES (?, ?, ?, ?, ?)
     ON CONFLICT (backend, name) DO UPDATE SET revision = excluded.revision, labels = excluded.labels,
       inspected = excluded.inspected RETURNING id`,
  ),
  find: db.prepare<[string, string], { name: string }>(
    `SELECT seen.name FROM seen_text JOIN seen ON seen.id = seen_text.rowid
     WHERE seen_text MATCH ? AND seen.backend = ? ORDER BY seen_text.rank`,
  ),
  removeText: db.prepare('DELETE FROM seen_text WHERE rowid = ?'),
  putText: db.prepare('INSERT INTO seen_text (rowid, name, labels, deffile, help) VALUES (?, ?, ?, ?, ?)'),
  remove: db.prepare('DELETE FROM seen WHERE id = ?'),
});

/** `backend` and `name` are keys as in {@link Remotes}. */
export class TextIndex {
  readonly #db: Database;
  readonly #sql: ReturnType<typeof prepare>;

  constructor(db: Database) {
    this.#db = db;
    this.#sql = prepare(db);
  }

  /** Notes what a service told of an image. Costs one look if that is nothing new. */
  put(backend: string, name: string, { annotations, revision }: RemoteImage): void {
    const known = this.#sql.get.get(backend, name);
    const isSame = known?.revision === revision;
    if (isSame && known.inspected === 1) return;
    const inspected = annotations?.[INSPECT_KEY] !== undefined;
    const attributes = readAnnotations(annotations);
    if (isSame && !inspected && known.labels === encode(attributes.labels)) return;
    this.#write({ backend, name, revision, attributes, inspected });
  }

  /** Notes what was read in a revision of an image. */
  learn(backend: string, name: string, revision: string, attributes: Attributes): void {
    const known = this.#sql.get.get(backend, name);
    if (known?.revision === revision && known.inspected === 1) return;
    this.#write({ backend, name, revision, attributes, inspected: true });
  }

  /** Notes all images that a backend has, and forgets all others. */
  replace(backend: string, images: readonly RemoteImage[]): void {
    this.#db
      .transaction(() => {
        const names = new Set(images.map(({ name }) => formatImageName(name)));
        for (const { name } of this.#sql.list.all(backend)) if (!names.has(name)) this.forget(backend, name);
        for (const image of images) this.put(backend, formatImageName(image.name), image);
      })
      .immediate();
  }

  /** Forgets one name, or every name of the backend. */
  forget(backend: string, name?: string): void {
    const names = name === undefined ? this.#sql.list.all(backend).map((row) => row.name) : [name];
    for (const each of names) {
      const known = this.#sql.get.get(backend, each);
      if (known === undefined) continue;
      this.#sql.removeText.run(known.id);
      this.#sql.remove.run(known.id);
    }
  }

  /**
   * Names of the images in which each word of `text` begins a word, the best match first. Any text is a valid query: characters
   * other than letters and digits only separate words.
   */
  find(backend: string, text: string): string[] {
    const question = toQuestion(text);
    return question === '' ? [] : this.#sql.find.all(question, backend).map(({ name }) => name);
  }

  /** Labels of an image; undefined if it was not seen. */
  labelsOf(backend: string, name: string): Labels | undefined {
    const known = this.#sql.get.get(backend, name);
    return known && JSON.parse(known.labels);
  }

  /** Labels of every image of a backend, by name. */
  labels(backend: string): Map<string, Labels> {
    return new Map(this.#sql.list.all(backend).map(({ name, labels }) => [name, JSON.parse(labels)]));
  }

  #write({ backend, name, revision, attributes, inspected }: Entry): void {
    const { apps = {}, deffile = '', helpfile = '', labels = {} } = attributes;
    const help = [helpfile, ...Object.values(apps).map((app) => app.helpfile ?? '')].join('\n');
    const words = Object.entries(labels).flat().join('\n');
    this.#db
      .transaction(() => {
        const row = this.#sql.put.get(backend, name, revision, encode(labels), inspected ? 1 : 0);
        const { id } = row as { id: number };
        this.#sql.removeText.run(id);
        this.#sql.putText.run(id, name, words, deffile, help);
      })
      .immediate();
  }
}

function encode(labels: Labels = {}): string {
  return JSON.stringify(labels);
}

/** The query in FTS5's language: each word as a prefix, in quotes, so that no word is an operator. */
function toQuestion(text: string): string {
  const words = text.slice(0, MAX_QUESTION).replaceAll('\0', ' ').split(/\s+/);
  return words
    .filter((word) => /[\p{L}\p{N}]/u.test(word))
    .slice(0, MAX_WORDS)
    .map((word) => `"${word.replaceAll('"', '""')}"*`)
    .join(' ');
}
