/** Removes files and folders in two steps: a rename takes them out of sight at once, and their bytes are freed afterwards. */
import { existsSync, mkdirSync, renameSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '../base/errors.ts';
import { debugLog } from '../log/index.ts';
import { entryFolder } from './location.ts';

const debug = debugLog('cache');

let trashed = 0;

/**
 * Takes a file or folder out of sight. Resolves when its bytes are freed. Never rejects: {@link emptyTrash} removes what stays.
 * Not an error if the path does not exist.
 */
export function trash(root: string, path: string): Promise<void> {
  const bin = join(root, 'trash');
  trashed += 1;
  const target = join(bin, `${process.pid}-${Date.now()}-${trashed}`);
  if (!moveInto(bin, path, target)) return Promise.resolve();
  return remove(target).then(() => {});
}

function moveInto(bin: string, path: string, target: string): boolean {
  mkdirSync(bin, { recursive: true, mode: 0o700 });
  try {
    renameSync(path, target);
    return true;
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
  }
  if (!existsSync(path)) return false;
  // The bin was removed between its making and the rename.
  mkdirSync(bin, { recursive: true, mode: 0o700 });
  renameSync(path, target);
  return true;
}

/** Takes an entry's files out of sight. */
export function detach(root: string, key: string): Promise<void> {
  return trash(root, entryFolder(root, key));
}

/** Deletes what dead processes left in the trash. Returns how many items. The folder stays: others move into it. */
export async function emptyTrash(root: string): Promise<number> {
  const bin = join(root, 'trash');
  const names = await readdir(bin).catch(() => []);
  const removed = await Promise.all(names.map((name) => remove(join(bin, name))));
  return removed.filter(Boolean).length;
}

async function remove(path: string): Promise<boolean> {
  try {
    await rm(path, { recursive: true, force: true });
    return true;
  } catch (error) {
    debug('not removed: %s: %o', path, error);
    return false;
  }
}
