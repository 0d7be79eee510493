/** Putting an image into the directory: a whole, compared copy under a hidden name, then one rename. */
import { rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { SregistryError } from '../../base/errors.ts';
import { copyFile, fileError, fileRevision, syncFolder, temporaryName } from '../../base/files.ts';
import { sha256File } from '../../base/hash.ts';
import type { ImageFile, PushOptions } from '../backend.ts';
import { stale } from '../file-range.ts';
import { StagedSides } from './side-files.ts';

export interface Source extends ImageFile {
  /** As `fileRevision` gives it, where the copy must be of that one. */
  readonly revision?: string | undefined;
}

/** Stores `source` as the file `name` in `folder`, in place of what is there. Readers of the old file keep it. */
export async function storeFile(
  source: Source,
  folder: string,
  name: string,
  { annotations, progress, signal }: PushOptions,
): Promise<void> {
  const target = join(folder, name);
  const temporary = join(folder, temporaryName());
  const sides = new StagedSides(target);
  try {
    await copyFile(source.path, temporary, { progress: (done) => progress?.(done, source.size), signal });
    const digest = await compare(source, temporary, signal);
    await sides.write({ digest, annotations });
    await rename(temporary, target);
    await sides.publish();
    syncFolder(folder);
    progress?.(source.size, source.size);
  } catch (error) {
    throw fileError('write', target, error);
  } finally {
    await rm(temporary, { force: true });
    await sides.discard();
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
