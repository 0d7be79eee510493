/** Copies files whole or not at all, and turns their failures into errors that name the file. */
import { randomUUID } from 'node:crypto';
import {
  type BigIntStats,
  closeSync,
  constants,
  createReadStream,
  createWriteStream,
  fsyncSync,
  openSync,
} from 'node:fs';
import { chmod, copyFile as cloneOrCopy, open, rm } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { type ErrorCode, SregistryError, systemCode } from './errors.ts';

/** Bytes moved at once by a copy. */
const CHUNK = 1024 * 1024;

export interface CopyOptions {
  /** Called with bytes copied so far. */
  readonly progress?: ((done: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A temporary name: hidden, so that no listing shows it, and short, so that it fits wherever the final name does. */
export function temporaryName(): string {
  return `.sregistry-${randomUUID()}.part`;
}

/**
 * A text that identifies the contents of a file. It changes when the bytes change or the file is replaced, but not when the
 * file is renamed, linked or unlinked or its mode changes. It trusts the file's time, which anyone who may write to the file
 * can set back.
 */
export function fileRevision(stats: BigIntStats): string {
  return `${stats.size}-${stats.mtimeNs}-${stats.ino}`;
}

/**
 * As {@link fileRevision}, with the kernel's time of the last change, which nobody can set. It changes with the bytes, and also
 * after a rename, a link or a change of the mode.
 */
export function fileStamp(stats: BigIntStats): string {
  return `${fileRevision(stats)}-${stats.ctimeNs}`;
}

/**
 * Copies `from` to the new file `to`, with the permissions of a new file, and syncs it. Both share their blocks if the file
 * system can. Removes `to` on failure.
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

/** Makes a copy that shares its blocks with the original. Returns false if the file system cannot. */
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

/** Makes a rename in `folder` survive a power cut. Not an error if the file system cannot sync folders. */
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

/** The SregistryError for a failed system call: `Cannot <act> <path>`. Returns a SregistryError unchanged. */
export function fileError(act: string, path: string, cause: unknown): unknown {
  const code = systemCode(cause);
  if (cause instanceof SregistryError || code === undefined) return cause;
  const meaning = MEANINGS[code] ?? { code: 'SERVICE', hint: 'Check the disk, or the network file system' };
  return new SregistryError(meaning.code, `Cannot ${act} ${path}`, { hint: meaning.hint, cause });
}
