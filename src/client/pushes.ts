/** Lists the unfinished pushes of all mounts: under way, kept after a failure, or refused. Asks no service. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { networkFileSystem } from '../cache/location.ts';
import type { PushPhase } from '../catalog/push-record.ts';
import { openState } from '../catalog/state.ts';

export interface PushSummary {
  readonly uri: string;
  readonly state: PushPhase;
  /** Sent so far. */
  readonly bytes: number;
  readonly size: number;
  /** Why it failed or was refused. */
  readonly error: string | undefined;
  readonly hint: string | undefined;
  /** ISO 8601: when its record last changed. */
  readonly updated: string;
}

/** The pushes in the journal of the cache at `root`, oldest first. Empty if nothing was ever cached there. */
export async function listPushes(root: string): Promise<PushSummary[]> {
  if (!existsSync(join(root, 'state.db'))) return [];
  const isNetwork = (await networkFileSystem(root)) !== undefined;
  const state = openState(root, isNetwork ? { journalMode: 'delete' } : {});
  try {
    return state.journal.list().map(({ uri, state: phase, bytes, size, error, hint, updated }) => {
      return { uri, state: phase, bytes, size, error, hint, updated: new Date(updated).toISOString() };
    });
  } finally {
    state.close();
  }
}
