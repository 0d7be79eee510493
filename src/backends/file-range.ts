/** Byte ranges of files on disk, for the drivers whose images are files: exactly one revision, or the error STALE. */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { SregistryError, systemCode } from '../base/errors.ts';
import { fileError, fileRevision } from '../base/files.ts';

/** Bytes read at once. */
const CHUNK = 256 * 1024;

/** A file as it was when it was looked at. */
export interface RevisedFile {
  readonly path: string;
  /** As `fileRevision` gave it. */
  readonly revision: string;
}

export interface FileRange extends RevisedFile {
  readonly offset: number;
  readonly length: number;
  readonly signal?: AbortSignal | undefined;
}

type OpenIt = (path: string) => Promise<FileHandle>;

/** Opens a file for reading; opening never waits, not even for a named pipe's writer. `flags` are added. */
export async function openFile(path: string, flags = 0): Promise<FileHandle> {
  return open(path, constants.O_RDONLY | constants.O_NONBLOCK | flags);
}

/**
 * Opens that revision of a file for reading. `openIt` opens what is at its path.
 *
 * @throws {SregistryError} STALE when the file is gone or another one, or no file.
 */
export async function openRevision(wanted: RevisedFile, openIt: OpenIt = openFile): Promise<FileHandle> {
  const file = await openIt(wanted.path).catch((error: unknown) => {
    throw ['ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO'].includes(systemCode(error) ?? '')
      ? stale(wanted.path, error)
      : fileError('read', wanted.path, error);
  });
  try {
    await compareRevision(file, wanted);
    return file;
  } catch (error) {
    await file.close();
    throw error;
  }
}

/**
 * The range's bytes. `openIt` opens the file; its revision is compared before the first byte and after the last. The
 * stream closes the file.
 *
 * @throws {SregistryError} STALE when the file is gone or another one.
 */
export async function readFileRange(range: FileRange, openIt?: OpenIt): Promise<Readable> {
  if (range.signal?.aborted) throw canceled(range);
  return streamOf(await openRevision(range, openIt), range);
}

function streamOf(file: FileHandle, range: FileRange): Readable {
  const { signal } = range;
  let position = range.offset;
  const end = range.offset + range.length;
  const next = async (): Promise<Buffer | null> => {
    if (position === end) {
      await compareRevision(file, range);
      return null;
    }
    const buffer = Buffer.allocUnsafe(Math.min(CHUNK, end - position));
    const { bytesRead } = await file.read(buffer, 0, buffer.length, position);
    if (bytesRead === 0) throw stale(range.path);
    position += bytesRead;
    return buffer.subarray(0, bytesRead);
  };
  const cancel = () => stream.destroy(canceled(range));
  const stream = new Readable({
    highWaterMark: CHUNK,
    read() {
      next().then(
        (chunk) => this.push(chunk),
        (error: unknown) => this.destroy(fileError('read', range.path, error) as Error),
      );
    },
    destroy(error, done) {
      signal?.removeEventListener('abort', cancel);
      file.close().then(() => done(error), done);
    },
  });
  signal?.addEventListener('abort', cancel, { once: true });
  return stream;
}

/** STALE where the open file is no longer that revision. */
export async function compareRevision(file: FileHandle, { path, revision }: RevisedFile): Promise<void> {
  const stats = await file.stat({ bigint: true });
  if (!stats.isFile() || fileRevision(stats) !== revision) throw stale(path);
}

export function stale(path: string, cause?: unknown): SregistryError {
  return new SregistryError('STALE', `${path} is no longer the file it was`, {
    hint: 'Open it again to read what is there now',
    cause,
  });
}

function canceled({ path, signal }: FileRange): SregistryError {
  return new SregistryError('CANCELED', `Reading ${path} was canceled`, { cause: signal?.reason });
}
