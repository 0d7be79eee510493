/**
 * Takes over what earlier mounts left in the journal.
 *
 * A file that was closed whole (kept, or being pushed) is pushed. Any other file is only listed (`sregistry status`): its
 * writer had not closed it, so only its owner knows whether it is finished (`sregistry push --kept`). Of several closed files
 * of one name, only the newest is pushed. Two more kinds are only listed: a file whose name another process is writing anew,
 * and a file whose record the journal has lost.
 */
import { lstat, readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import pMap from 'p-map';
import { describeError, SregistryError, systemCode } from '../base/errors.ts';
import { ownProcess } from '../base/process.ts';
import { closedAt, type Journal } from '../catalog/journal.ts';
import type { PushRecord } from '../catalog/push-record.ts';
import { readNote, removeStaged, stagedNameOf } from '../catalog/staged-note.ts';
import { debugLog } from '../log/index.ts';
import { StagedFile } from './staged-file.ts';
import { isStagedName, ownerOf } from './staged-name.ts';
import { keyOf, parsePath } from './tree.ts';

const debug = debugLog('staging');

/** Parallel pushes of files that were left. Each hashes its file and takes bandwidth from readers. */
const CONCURRENCY = 2;

const LEFT = {
  error: 'Its writer had not finished when the mount ended',
  hint: 'sregistry push --kept pushes it as it is; sregistry push --drop removes it',
} as const;

const FOUND = { ...LEFT, error: 'It was found without a record in the journal' } as const;

export interface StagedPaths {
  /** Is the file of this record in place already? */
  has(record: string): boolean;
  isFree(path: string): boolean;
  /** Puts a file in its place. Returns false if another file is there. */
  place(staged: StagedFile): boolean;
  /** Takes a file from its place. */
  withdraw(staged: StagedFile): void;
  /** Pushes a file that is in place. */
  push(staged: StagedFile): Promise<void>;
}

type Staged = PushRecord & { readonly staged: string };

export async function takeOver(
  journal: Journal,
  backends: readonly string[],
  tree: StagedPaths,
): Promise<void> {
  const left = journal
    .listAdoptable(ownProcess())
    .filter((record): record is Staged => record.staged !== undefined && backends.includes(record.backend))
    .filter(({ id }) => !tree.has(id));
  const [closed, parts] = partition(left, ({ state }) => state === 'kept' || state === 'pushing');
  for (const record of parts) {
    if (record.state === 'staging') journal.update(record.id, { state: 'incomplete', ...LEFT });
    await placePart(journal, record, tree);
  }
  const pushes = [...Map.groupBy(closed, (record) => keyOf(pathOf(record))).values()];
  const placed = await Promise.all(pushes.map((records) => placeClosed(journal, records, tree)));
  void pMap(placed.flat(), (push) => push(), { concurrency: CONCURRENCY });
}

/**
 * Removes files of dead processes that no record names: they were never written, or are pushed already. After a loss of the
 * journal, gives a record to each file whose bytes would be lost.
 */
export async function removeOrphans(folder: string, journal: Journal): Promise<void> {
  const names = await readdir(folder).catch((error) => {
    if (systemCode(error) === 'ENOENT') return [];
    throw error;
  });
  const known = new Set(journal.list().map(({ staged }) => staged && basename(staged)));
  for (const name of new Set(names.map(stagedNameOf))) {
    if (known.has(name) || journal.isAlive(ownerOf(name))) continue;
    const file = join(folder, name);
    const size = await sizeOf(file);
    const place = readNote(file) ?? { backend: '', path: name, uri: file };
    if (size === 0 || place === 'spare' || !isStagedName(name)) await removeStaged(file);
    else
      journal.recover({
        ...place,
        state: 'incomplete',
        bytes: 0,
        size,
        staged: file,
        owner: ownerOf(name),
        ...FOUND,
      });
  }
}

/** Zero if the file does not exist. */
async function sizeOf(file: string): Promise<number> {
  const stats = await lstat(file).catch((error) => {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  });
  return stats?.isFile() ? stats.size : 0;
}

/**
 * Shows a part whose name is not an image's in the mount, where it hides nothing. There it can be finished, renamed or removed.
 */
async function placePart(journal: Journal, record: Staged, tree: StagedPaths): Promise<void> {
  const path = pathOf(record);
  if (parsePath(path)?.kind === 'image' || !tree.isFree(path)) return;
  const staged = await adopt(journal, record, 'incomplete');
  if (staged !== undefined && !tree.place(staged)) giveBack(journal, record);
}

/** Puts the newest of several files of one name in place. Returns the push, which then removes the others. */
async function placeClosed(
  journal: Journal,
  records: readonly Staged[],
  tree: StagedPaths,
): Promise<(() => Promise<void>)[]> {
  const sorted = records.toSorted((one, other) => closedAt(one) - closedAt(other));
  const newest = sorted.at(-1) as Staged;
  const path = pathOf(newest);
  if (!tree.isFree(path)) return [];
  if (newest.superseded || journal.hasNewer(newest)) {
    journal.setAside(newest.id);
    return [];
  }
  const staged = await adopt(journal, newest, 'kept');
  if (staged === undefined) return [];
  if (!tree.place(staged)) {
    journal.setAside(newest.id);
    giveBack(journal, newest);
    return [];
  }
  const push = async () => {
    try {
      // Noted first: of two processes that look at each other's records at the same time, at least one sees the other.
      journal.update(newest.id, { state: 'pushing' });
      // While it waited for its turn, something newer may have been pushed to its name, or be about to.
      const isNewerPushed = journal.get(newest.id)?.superseded;
      if (isNewerPushed || journal.hasNewer(newest)) {
        journal.setAside(newest.id);
        return await withdraw(journal, newest, staged, tree);
      }
      await tree.push(staged);
      if (staged.isInRegistry || staged.state === 'gone') await removeReplaced(journal, sorted.slice(0, -1));
    } catch (error) {
      debug('%s is still not pushed: %s', path, describeError(error));
    }
  };
  return [push];
}

async function adopt(
  journal: Journal,
  { id, staged: file, ...record }: Staged,
  state: 'kept' | 'incomplete',
): Promise<StagedFile | undefined> {
  if (journal.adopt(id, ownProcess()) === undefined) return undefined;
  try {
    return await StagedFile.restore(pathOf(record), { file, record: id, state });
  } catch (error) {
    const reason = `Its staged file cannot be read: ${describeError(error)}`;
    journal.update(id, { state: 'refused', error: reason, staged: undefined });
    return undefined;
  }
}

/** Makes the path show the registry's image again. A file that somebody has open stays, as one whose push failed. */
async function withdraw(
  journal: Journal,
  record: Staged,
  staged: StagedFile,
  tree: StagedPaths,
): Promise<void> {
  staged.failure = new SregistryError('STALE', `A newer image was pushed to the name of ${staged.path}`);
  if (staged.handles > 0) return;
  tree.withdraw(staged);
  giveBack(journal, record);
  await staged.close();
}

/** Lets other processes take over a record whose file has no place here. */
function giveBack(journal: Journal, { id, owner }: Staged): void {
  journal.update(id, { owner });
}

async function removeReplaced(journal: Journal, records: readonly Staged[]): Promise<void> {
  for (const { id, staged } of records) {
    if (journal.adopt(id, ownProcess()) === undefined) continue;
    await removeStaged(staged);
    journal.remove(id);
  }
}

function partition<T>(all: readonly T[], belongs: (each: T) => boolean): [T[], T[]] {
  return [all.filter(belongs), all.filter((each) => !belongs(each))];
}

function pathOf({ backend, path }: Pick<PushRecord, 'backend' | 'path'>): string {
  return `/${backend}/${path}`;
}
