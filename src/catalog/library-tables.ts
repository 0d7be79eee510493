/**
 * Opens sregistry.db when it is needed. Reading does not create it. A database that cannot be written (a colleague's, or on a
 * read-only file system) is opened read-only.
 */
import { accessSync, constants, existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { Containers } from './containers.ts';
import { type Database, openDatabase } from './database.ts';
import { Digests } from './digests.ts';
import { LIBRARY_MIGRATIONS } from './library-schema.ts';

export interface Tables {
  readonly containers: Containers;
  /** Undefined for a read-only database that only the Python client has written to. */
  readonly digests: Digests | undefined;
}

export type WritableTables = Tables & { readonly digests: Digests };

export class LibraryTables {
  readonly #path: string;
  #db: Database | undefined;
  #tables: Tables | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /** Undefined if there is no database yet. */
  read(): Tables | undefined {
    if (this.#tables === undefined && existsSync(this.#path)) this.#open(!this.#isWritable());
    return this.#tables;
  }

  write(): WritableTables {
    if (this.#db === undefined || this.#db.readonly) this.#open(false);
    return this.#tables as WritableTables;
  }

  close(): void {
    this.#db?.close();
    this.#db = undefined;
    this.#tables = undefined;
  }

  #open(readonly: boolean): void {
    const db = openDatabase(this.#path, { migrations: LIBRARY_MIGRATIONS, readonly });
    this.close();
    this.#db = db;
    const hasDigests = db.prepare("SELECT 1 FROM sqlite_master WHERE name = 'sregistry_digest'").get();
    this.#tables = {
      containers: new Containers(db),
      digests: hasDigests === undefined ? undefined : new Digests(db),
    };
  }

  #isWritable(): boolean {
    try {
      // The journal lies beside the file while something is written.
      for (const path of [this.#path, dirname(this.#path)]) accessSync(path, constants.W_OK);
      return true;
    } catch {
      return false;
    }
  }
}
