/**
 * Folders and files of this user alone, in places of the user's own choice: the cache, the databases. A link of the user's own
 * is followed, as to a scratch disk, and what it leads to must be the user's as well (no-follow.ts is for places where no link
 * is to be trusted). What is there and lets others in is tightened.
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
 * Makes a folder that only its owner gets into, whatever the umask, and returns its real path. One that is there is
 * tightened. It may be a link of the user's own, as for a cache on scratch; what it leads to must be the user's as well.
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
 * Makes a file that only its owner reads and writes, whatever the umask; one that is there is tightened, and its bytes stay.
 * It is never opened where it exists: closing it would end the locks that this process has on it.
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
      'others can access it',
      'Choose a place on a file system with permissions',
      failure,
    );
}

function notPrivate(path: string, why: string, hint: string, cause?: unknown): SregistryError {
  return new SregistryError('SETTINGS', `Refusing to use ${path}: ${why}`, { hint, cause });
}
