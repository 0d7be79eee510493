/** Putting an image into the directory: a whole, compared copy under a hidden name, then one rename or one link. */
import { link, open, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { SregistryError, systemCode } from '../../base/errors.ts';
import { copyFile, fileError, fileRevision, syncFolder, temporaryName } from '../../base/files.ts';
import { sha256File } from '../../base/hash.ts';
import type { ImageFile, PushOptions } from '../backend.ts';
import { stale } from '../file-range.ts';
import { StagedSidecars } from './sidecars.ts';

export interface Source extends ImageFile {
  /** As `fileRevision` gives it, where the copy must be of that one. */
  readonly revision?: string | undefined;
}

/** link(2) fails with these where the file system has no second names for a file. */
const NO_LINK = ['EPERM', 'EMLINK', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'];

/**
 * Stores `source` as the file `name` in `folder`, in place of what is there; with `ifAbsent`, EXISTS where something is. Readers of
 * the old file keep it.
 */
export async function storeFile(
  source: Source,
  folder: string,
  name: string,
  { annotations, progress, ifAbsent = false, signal }: PushOptions,
): Promise<void> {
  const target = join(folder, name);
  const temporary = join(folder, temporaryName());
  const sidecars = new StagedSidecars(target);
  try {
    await copyFile(source.path, temporary, { progress: (done) => progress?.(done, source.size), signal });
    const digest = await compare(source, temporary, signal);
    await sidecars.write({ digest, annotations });
    await (ifAbsent ? placeNew(temporary, target) : rename(temporary, target));
    await sidecars.publish();
    syncFolder(folder);
    progress?.(source.size, source.size);
  } catch (error) {
    throw fileError('write', target, error);
  } finally {
    await rm(temporary, { force: true });
    await sidecars.discard();
  }
}

/** Gives a file a name that nothing has: of several at the same time, one does, and the others fail with EEXIST. */
async function placeNew(temporary: string, target: string): Promise<void> {
  try {
    await link(temporary, target);
  } catch (error) {
    if (!NO_LINK.includes(systemCode(error) ?? '')) throw error;
    // An empty file takes the name; only who made it may replace it.
    await (await open(target, 'wx')).close();
    await rename(temporary, target);
  }
}

/** The digest of the copy, which must be that of the source. */
async function compare(source: Source, copy: string, signal: AbortSignal | undefined): Promise<string> {
  const actual = await sha256File(copy, { signal });
  const expected = source.digest ?? (await sha256File(source.path, { signal }));
  if (source.revision !== undefined) {
    const stats = await stat(source.path, { bigint: true });
    if (fileRevision(stats) !== source.revision) throw stale(source.path);
  }
  if (actual === expected) return actual;
  throw new SregistryError('CORRUPT', `The copy of ${source.path} has ${actual}, the original ${expected}`, {
    hint: 'The original changed while it was copied, or a disk is failing; try again',
  });
}
