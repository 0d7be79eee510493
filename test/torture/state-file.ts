/** What `state.db` says of processes: who holds entries open, who fetches, whose files are staged. Read only. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';

export interface Owned {
  readonly table: string;
  readonly pid: number;
  readonly row: string;
}

export interface StateFile {
  /** Rows of tables whose rows belong to processes. */
  readonly owned: readonly Owned[];
  /** Paths of staged files that are in the journal. */
  readonly staged: readonly string[];
}

const OWNED_TABLES = ['cache_claims', 'cache_opens'];

/** Undefined where there is none yet. */
export function readState(cache: string): StateFile | undefined {
  const path = join(cache, 'state.db');
  if (!existsSync(path)) return undefined;
  const db = new Sqlite(path, { readonly: true, timeout: 10_000 });
  try {
    const rows = (table: string) => db.prepare(`SELECT * FROM ${table}`).all() as Record<string, unknown>[];
    const owned = OWNED_TABLES.flatMap((table) =>
      rows(table).map((row) => ({ table, pid: Number(row.pid), row: JSON.stringify(row) })),
    );
    const staged = rows('pushes').flatMap(({ staged }) => (typeof staged === 'string' ? staged : []));
    return { owned, staged };
  } finally {
    db.close();
  }
}
