/** Files as drivers and catalog handle them: copied whole or not at all, and their failures told in full. */
import { randomUUID } from 'node:crypto';
import {
  type BigIntStats,
  chmodSync,
  closeSync,
  constants,
  createReadStream,
  createWriteStream,
  existsSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  realpathSync,
  type Stats,
} from 'node:fs';
import { chmod, copyFile as cloneOrCopy, open, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { type ErrorCode, SregistryError, systemCode } from './errors.ts';

/** Bytes moved at once by a copy. */
const CHUNK = 1024 * 1024;

export interface CopyOptions {
  /** Called with bytes copied so far. */
  readonly progress?: ((done: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Hidden, so that no listing shows it, and short, so that it fits wherever the final name does. */
export function temporaryName(): string {
  return `.sregistry-${randomUUID()}.part`;
}

/**
 * Names what a file holds: another one when its bytes are changed or it is replaced, the same when it is renamed, linked or
 * unlinked or its mode changes. It believes the file's time, which whoever may write to the file can set back.
 */
export function fileRevision(stats: BigIntStats): string {
  return `${stats.size}-${stats.mtimeNs}-${stats.ino}`;
}

/**
 * As {@link fileRevision}, with the kernel's time of the last change, which nobody can set: another one after every change
 * of the bytes, and also after a rename, a link or a change of the mode.
 */
export function fileStamp(stats: BigIntStats): string {
  return `${fileRevision(stats)}-${stats.ctimeNs}`;
}

/**
 * Copies `from` to the new file `to`, with the permissions a new file gets and safe on disk when done. Where the file
 * system can, both share their blocks. On failure `to` is removed.
 */
export async function copyFile(from: string, to: string, options: CopyOptions = {}): Promise<void> {
  const { progress, signal } = options;
  if (signal?.aborted)
    throw new SregistryError('CANCELED', `Copying ${from} was canceled`, { cause: signal.reason });
  if (await clone(from, to)) return;
  const source = createReadStream(from, { highWaterMark: CHUNK });
  const target = createWriteStream(to, { flags: 'wx', flush: true, highWaterMark: CHUNK });
  let done = 0;
  source.on('data', (chunk) => {
    done += chunk.length;
    progress?.(done);
  });
  try {
    await pipeline(source, target, signal === undefined ? {} : { signal });
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') await rm(to, { force: true });
    throw error;
  }
}

/** A copy that shares its blocks with the original; false where the file system cannot. */
async function clone(from: string, to: string): Promise<boolean> {
  const created = await open(to, 'wx');
  try {
    const { mode } = await created.stat();
    await cloneOrCopy(from, to, constants.COPYFILE_FICLONE_FORCE);
    await chmod(to, mode);
    await created.sync();
    return true;
  } catch {
    await rm(to, { force: true });
    return false;
  } finally {
    await created.close();
  }
}

/** Makes a rename in `folder` survive a power cut. File systems that have no such thing are content without. */
export function syncFolder(folder: string): void {
  try {
    const descriptor = openSync(folder, 'r');
    try {
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    if (!['EINVAL', 'ENOTSUP', 'EACCES'].includes(systemCode(error) ?? '')) throw error;
  }
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

function assertOurs(path: string, { uid }: Stats): void {
  if (process.geteuid === undefined || uid === process.geteuid()) return;
  throw notPrivate(path, `it belongs to another user (uid ${uid})`, 'Choose a folder of yours, or remove it');
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

interface Meaning {
  readonly code: ErrorCode;
  readonly hint?: string;
}

const MEANINGS: Readonly<Record<string, Meaning>> = {
  ENOENT: { code: 'NOT_FOUND' },
  ENOTDIR: { code: 'NOT_FOUND' },
  EEXIST: { code: 'EXISTS' },
  EACCES: { code: 'FORBIDDEN', hint: 'Check the permissions of the file and of the folders above it' },
  EPERM: { code: 'FORBIDDEN', hint: 'Check who owns the file and its folder' },
  EROFS: { code: 'READ_ONLY', hint: 'Its file system is mounted read-only' },
  ENOSPC: { code: 'NO_SPACE', hint: 'Free space on its file system' },
  EDQUOT: { code: 'NO_SPACE', hint: 'Your quota on its file system is used up' },
  EBUSY: { code: 'BUSY' },
  ENAMETOOLONG: { code: 'INVALID_NAME', hint: 'Choose a shorter name, tag or version' },
  ETIMEDOUT: { code: 'TIMED_OUT' },
  ABORT_ERR: { code: 'CANCELED' },
};

/** The SregistryError for a failed system call: `Cannot <act> <path>`. SregistryErrors come back as they are. */
export function fileError(act: string, path: string, cause: unknown): unknown {
  const code = systemCode(cause);
  if (cause instanceof SregistryError || code === undefined) return cause;
  const meaning = MEANINGS[code] ?? { code: 'SERVICE', hint: 'Check the disk, or the network file system' };
  return new SregistryError(meaning.code, `Cannot ${act} ${path}`, { hint: meaning.hint, cause });
}
