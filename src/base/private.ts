/**
 * Directories and files of this user alone, in places where somebody else may have been first. What is there already
 * is checked before it is used: its owner, that it is no link, its mode. A mode that lets others in is tightened, an
 * owner cannot be mended: the error SETTINGS.
 */
import {
  chmodSync,
  closeSync,
  constants,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  realpathSync,
  type Stats,
} from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { SregistryError, systemCode } from './errors.ts';

const { O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants;

/** Permission bits of group and others. */
const OTHERS = 0o077;
/** Those of them with which group and others can write. */
const OTHERS_WRITE = 0o022;

/** Creates the directory, and those above it, with mode 0700, or closes it to others. `hint`: what to do where it is not ours. */
export function ensurePrivateDirectory(path: string, hint: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (cause) {
    // A file or a dangling link in its place is told of below.
    if (systemCode(cause) !== 'EEXIST' && systemCode(cause) !== 'ENOENT')
      throw new SregistryError('SETTINGS', `Cannot create the directory ${path}.`, { hint, cause });
  }
  if (!closePrivateDirectory(path, hint))
    throw new SregistryError('SETTINGS', `Cannot create the directory ${path}.`, { hint });
}

/** Closes a directory of ours to others. False where it does not exist. */
export function closePrivateDirectory(path: string, hint: string): boolean {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return false;
  if (!stats.isDirectory() || !isOurs(stats))
    throw new SregistryError('SETTINGS', `${path} is not a directory of yours; it is not used.`, { hint });
  if (stats.mode & OTHERS) chmodSync(path, 0o700);
  return true;
}

export function isOurDirectory(path: string): boolean {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  return stats?.isDirectory() === true && isOurs(stats);
}

/** Opens a file to append to it, made with mode 0600 or closed to others. */
export async function openPrivateLog(path: string, hint: string): Promise<FileHandle> {
  const refused = (cause?: unknown) =>
    new SregistryError('SETTINGS', `${path} is not a file of yours; it is not written to.`, { hint, cause });
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

/** The text of a file that only we can have written, of at most `limit` bytes; undefined for any other file. */
export async function readPrivateFile(path: string, limit: number): Promise<string | undefined> {
  // Opening a pipe without O_NONBLOCK waits for whoever writes to it.
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

export function isOurs({ uid }: Pick<Stats, 'uid'>): boolean {
  return process.geteuid === undefined || uid === process.geteuid();
}

/**
 * Makes a folder that only its owner gets into, whatever the umask, and returns its real path. One that is there is
 * tightened. It may be a link of the user's own, as for a cache on scratch; what it leads to must be the user's as well.
 *
 * @throws {SregistryError} SETTINGS where the folder, or a link to it, is another user's, is no folder or cannot be made
 * private. What else fails is the system's own error.
 */
export function ensurePrivateFolder(path: string): string {
  makeFolder(path);
  assertOurs(path, lstatSync(path));
  const real = realpathSync(path);
  const stats = lstatSync(real);
  if (!stats.isDirectory()) throw notPrivate(path, 'it is not a folder', 'Remove it, or choose another one');
  assertOurs(path, stats);
  makePrivate(real, stats, 0o700);
  return real;
}

/**
 * Makes a file that only its owner reads and writes, whatever the umask; one that is there is tightened, and its bytes stay.
 * It is never opened where it exists: closing it would end the locks that this process has on it.
 *
 * @throws {SregistryError} SETTINGS where it is another user's or no file.
 */
export function ensurePrivateFile(path: string): void {
  try {
    closeSync(openSync(path, 'wx', 0o600));
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw error;
  }
  tightenFile(path);
}

/** As {@link ensurePrivateFile} for a file that may be there; not an error where it is not. */
export function tightenFile(path: string): void {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return;
  assertOurs(path, stats);
  if (!stats.isFile()) throw notPrivate(path, 'it is not a file', 'Remove it');
  makePrivate(path, stats, 0o600);
}

/** `mkdir -p`. The mode of mkdir(2) is masked: what is made is given its mode afterwards. */
function makeFolder(path: string): void {
  if (existsSync(path)) return;
  if (dirname(path) !== path) makeFolder(dirname(path));
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return;
    throw error;
  }
  chmodSync(path, 0o700);
}

function assertOurs(path: string, stats: Stats): void {
  if (isOurs(stats)) return;
  throw notPrivate(
    path,
    `it belongs to another user (uid ${stats.uid})`,
    'Choose a folder of yours, or remove it',
  );
}

/** File systems without modes accept chmod and do nothing, or refuse it. */
function makePrivate(path: string, { mode }: Stats, wanted: number): void {
  if ((mode & 0o777) === wanted) return;
  let failure: unknown;
  try {
    chmodSync(path, wanted);
  } catch (error) {
    failure = error;
  }
  if ((lstatSync(path).mode & 0o077) !== 0)
    throw notPrivate(
      path,
      'others can get at it',
      'Choose a place on a file system with permissions',
      failure,
    );
}

function notPrivate(path: string, why: string, hint: string, cause?: unknown): SregistryError {
  return new SregistryError('SETTINGS', `Refusing to use ${path}: ${why}`, { hint, cause });
}
