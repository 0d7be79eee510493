/**
 * Private folders and files in places that everybody may write to, such as /tmp, where another user may have made them first.
 * Before use, an existing one is checked: its owner, its mode, and that it is not a link, not even one of the user's own
 * (private.ts follows those). A mode that lets others in is tightened. Another owner is the error SETTINGS.
 */
import { chmodSync, constants, lstatSync, mkdirSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { SregistryError, systemCode } from './errors.ts';
import { isOurs } from './private.ts';

const { O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants;

/** Permission bits of group and others. */
const OTHERS = 0o077;
/** Write permission of group and others. */
const OTHERS_WRITE = 0o022;

/**
 * Creates the directory, and those above it, with mode 0700, or closes an existing one to others. `hint`: what to do if it is
 * another user's.
 */
export function ensureFolderNoFollow(path: string, hint: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (cause) {
    // The check below reports a file or a dangling link in its place.
    if (systemCode(cause) !== 'EEXIST' && systemCode(cause) !== 'ENOENT')
      throw new SregistryError('SETTINGS', `Cannot create the directory ${path}.`, { hint, cause });
  }
  if (!closeFolderNoFollow(path, hint))
    throw new SregistryError('SETTINGS', `Cannot create the directory ${path}.`, { hint });
}

/** Closes this user's directory to others. Returns false if it does not exist. */
export function closeFolderNoFollow(path: string, hint: string): boolean {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return false;
  if (!stats.isDirectory() || !isOurs(stats))
    throw new SregistryError('SETTINGS', `Refusing to use ${path}: it is not a directory of yours.`, {
      hint,
    });
  if (stats.mode & OTHERS) chmodSync(path, 0o700);
  return true;
}

export function isOurFolder(path: string): boolean {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  return stats?.isDirectory() === true && isOurs(stats);
}

/** Opens a file to append to it. Creates it with mode 0600, or closes an existing one to others. */
export async function openLogNoFollow(path: string, hint: string): Promise<FileHandle> {
  const refused = (cause?: unknown) =>
    new SregistryError('SETTINGS', `Refusing to write to ${path}: it is not a file of yours.`, {
      hint,
      cause,
    });
  const handle = await open(path, O_APPEND | O_CREAT | O_WRONLY | O_NOFOLLOW | O_NONBLOCK, 0o600).catch(
    (cause) => {
      throw refused(cause);
    },
  );
  const stats = await handle.stat();
  if (!stats.isFile() || !isOurs(stats)) {
    await handle.close();
    throw refused();
  }
  if (stats.mode & OTHERS) await handle.chmod(0o600);
  return handle;
}

/** The text of a file that only this user can have written, of at most `limit` bytes; undefined for any other file. */
export async function readFileNoFollow(path: string, limit: number): Promise<string | undefined> {
  // Without O_NONBLOCK, opening a pipe waits for a writer.
  const handle = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK).catch(() => undefined);
  if (handle === undefined) return undefined;
  try {
    const stats = await handle.stat();
    if (!stats.isFile() || !isOurs(stats) || stats.mode & OTHERS_WRITE || stats.size > limit)
      return undefined;
    return await handle.readFile('utf8');
  } finally {
    await handle.close();
  }
}
