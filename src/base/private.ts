/**
 * Private folders and files in places that the user has chosen: the cache, the databases. A link of the user's own is followed,
 * for instance to a scratch disk, and its target must be the user's as well. (no-follow.ts is for places where no link can be
 * trusted.) A mode that lets others in is tightened.
 */
import {
  chmodSync,
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  realpathSync,
  type Stats,
} from 'node:fs';
import { dirname } from 'node:path';
import { SregistryError, systemCode } from './errors.ts';

export function isOurs({ uid }: Pick<Stats, 'uid'>): boolean {
  return process.geteuid === undefined || uid === process.geteuid();
}

/**
 * Makes a folder that only its owner can enter, whatever the umask, and returns its real path. Tightens an existing folder. It
 * may be a link of the user's own, for instance to a scratch disk, whose target must be the user's as well.
 *
 * @throws {SregistryError} SETTINGS if the folder, or a link to it, is another user's, is not a folder or cannot be made
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
 * Makes a file that only its owner can read and write, whatever the umask. Tightens an existing file and keeps its bytes. Never
 * opens an existing file, as closing it would end the locks that this process has on it.
 *
 * @throws {SregistryError} SETTINGS if it is another user's or not a file.
 */
export function ensurePrivateFile(path: string): void {
  try {
    closeSync(openSync(path, 'wx', 0o600));
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw error;
  }
  tightenFile(path);
}

/** As {@link ensurePrivateFile}, but does nothing if the file does not exist. */
export function tightenFile(path: string): void {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return;
  assertOurs(path, stats);
  if (!stats.isFile()) throw notPrivate(path, 'it is not a file', 'Remove it');
  makePrivate(path, stats, 0o600);
}

/** As `mkdir -p`. Sets the mode afterwards, as the umask changes the mode of mkdir(2). */
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
      'others can access it',
      'Choose a place on a file system with permissions',
      failure,
    );
}

function notPrivate(path: string, why: string, hint: string, cause?: unknown): SregistryError {
  return new SregistryError('SETTINGS', `Refusing to use ${path}: ${why}`, { hint, cause });
}
