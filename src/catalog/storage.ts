/**
 * Files of the library: where an image lies and how it gets there. A file first gets a hidden name in its folder, as a hard
 * link or as a copy. The transaction that adds its row gives it its own name. The original stays where it was until the commit,
 * so the only copy is never at risk.
 */
import { existsSync, renameSync, rmSync } from 'node:fs';
import { link, lstat, mkdir, realpath, rmdir, stat, unlink } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { SregistryError, systemCode } from '../base/errors.ts';
import { type CopyOptions, copyFile, fileError, syncFolder, temporaryName } from '../base/files.ts';
import type { ImageName } from '../image/name.ts';
import { formatImageName, isPathComponent } from '../image/names.ts';
import { bot } from '../log/index.ts';

export type Transfer = 'move' | 'copy';

/** Errors of link(2) if the file system or the owner does not allow a link. Then the bytes are copied. */
const NO_LINK = ['EXDEV', 'EPERM', 'EACCES', 'EMLINK', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'];

/** Folder of every version of an image: `<storage>/[registry/]<collection>/<image>`. */
export function imageFolder(storage: string, name: ImageName): string {
  const { registry, collection, image, tag, version } = name;
  const folders = [...(registry === undefined ? [] : [registry]), ...collection.split('/'), image];
  if (![...folders, tag, ...(version === undefined ? [] : [version])].every(isPathComponent)) {
    throw new SregistryError('INVALID_NAME', `${formatImageName(name)} cannot be stored under that name`);
  }
  return join(storage, ...folders);
}

/** Path of one version of an image: `<tag>@<version>.sif` in its folder. */
export function imagePath(storage: string, name: ImageName & { readonly version: string }): string {
  return join(imageFolder(storage, name), `${name.tag}@${name.version}.sif`);
}

/**
 * Brings the bytes of `file` into `folder` under a hidden name, and returns its path. Makes a missing folder. The original
 * stays. The target of a symbolic link is copied, never linked.
 */
export async function stage(
  file: string,
  folder: string,
  transfer: Transfer,
  options: CopyOptions,
): Promise<string> {
  const staged = join(folder, temporaryName());
  try {
    const source = await realpath(file);
    if (!(await stat(source)).isFile()) throw new SregistryError('NOT_AN_IMAGE', `${file} is not a file`);
    await mkdir(folder, { recursive: true });
    const linked = transfer === 'move' && (await lstat(file)).isFile() && (await tryLink(source, staged));
    if (!linked) await copyFile(source, staged, options);
    return staged;
  } catch (error) {
    throw fileError('store', file, error);
  }
}

async function tryLink(source: string, staged: string): Promise<boolean> {
  try {
    await link(source, staged);
    return true;
  } catch (error) {
    if (NO_LINK.includes(systemCode(error) ?? '')) return false;
    throw error;
  }
}

/**
 * Gives the staged file the name `path` within a transaction. `transact` runs the transaction, and calls back when the row is
 * written. If it fails, neither the row nor the file exists.
 */
export function settle<T>(staged: string, path: string, transact: (place: () => void) => T): T {
  let made = false;
  try {
    return transact(() => {
      const isNew = !existsSync(path);
      renameSync(staged, path);
      made = isNew;
      syncFolder(dirname(path));
    });
  } catch (error) {
    if (made) rmSync(path, { force: true });
    throw fileError('store', path, error);
  } finally {
    // A rename between two names of one file does nothing, so the hidden name may still exist.
    rmSync(staged, { force: true });
  }
}

/** Ends a move: removes the old name of `file`, which is now at `path`. */
export async function removeOriginal(file: string, path: string): Promise<void> {
  if ((await realpath(file)) === (await realpath(path))) return;
  try {
    await unlink(file);
  } catch (error) {
    bot.warning(fileError('remove the original', file, error));
  }
}

/** Removes `folder` and the folders above it while they are empty, up to `storage`, which stays. */
export async function removeEmptyFolders(storage: string, folder: string): Promise<void> {
  const inside = (path: string) => !/^(?:\.\.)?(?:\/|$)/.test(relative(storage, path));
  try {
    for (let path = folder; inside(path); path = dirname(path)) await rmdir(path);
  } catch (error) {
    if (!['ENOTEMPTY', 'EEXIST', 'ENOENT', 'EACCES', 'EPERM'].includes(systemCode(error) ?? '')) throw error;
  }
}
