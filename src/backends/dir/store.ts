/** Stores an image in the directory: copies it under a hidden name, verifies the copy, then renames or links it into place. */
import { link, open, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { SregistryError, systemCode } from '../../base/errors.ts';
import { copyFile, fileError, fileRevision, syncFolder, temporaryName } from '../../base/files.ts';
import { sha256File } from '../../base/hash.ts';
import type { ImageFile, PushOptions } from '../backend.ts';
import { stale } from '../file-range.ts';
import { StagedSidecars } from './sidecars.ts';

export interface Source extends ImageFile {
  /** As `fileRevision` returns it, if the copy must be of this revision. */
  readonly revision?: string | undefined;
}

/** Error codes of link(2) on a file system without hard links. */
const NO_LINK = ['EPERM', 'EMLINK', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'];

/**
 * Stores `source` as the file `name` in `folder`, replacing an existing file; with `ifAbsent`, throws EXISTS instead. Open readers of
 * the old file keep reading it.
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

/** Gives a file a name that is free. If several pushes try at the same time, one succeeds and the others fail with EEXIST. */
async function placeNew(temporary: string, target: string): Promise<void> {
  try {
    await link(temporary, target);
  } catch (error) {
    if (!NO_LINK.includes(systemCode(error) ?? '')) throw error;
    // Reserve the name with an empty file, which only its creator replaces.
    await (await open(target, 'wx')).close();
    await rename(temporary, target);
  }
}

/** Verifies that the copy has the digest of the source, and returns it. */
async function compare(source: Source, copy: string, signal: AbortSignal | undefined): Promise<string> {
  const actual = await sha256File(copy, { signal });
  const expected = source.digest ?? (await sha256File(source.path, { signal }));
  if (source.revision !== undefined) {
    const stats = await stat(source.path, { bigint: true });
    if (fileRevision(stats) !== source.revision) throw stale(source.path);
  }
  if (actual === expected) return actual;
  throw new SregistryError(
    'CORRUPT',
    `The copy of ${source.path} is damaged: its digest is ${actual}, the original's ${expected}`,
    {
      hint: 'The original changed during the copy, or a disk is failing. Try again',
    },
  );
}
