/** Reads byte ranges of one revision of a file on disk, or throws STALE. For drivers whose images are files. */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { SregistryError, systemCode } from '../base/errors.ts';
import { fileError, fileRevision } from '../base/files.ts';

/** Bytes read at once. */
const CHUNK = 256 * 1024;

/** A file, and the revision it had when it was found. */
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

/** Opens a file for reading, with additional `flags`. Never blocks, not even on a named pipe without a writer. */
export async function openFile(path: string, flags = 0): Promise<FileHandle> {
  return open(path, constants.O_RDONLY | constants.O_NONBLOCK | flags);
}

/**
 * Opens this revision of a file for reading. `openIt` opens the file at its path.
 *
 * @throws {SregistryError} STALE if the file is gone, was replaced, or is not a regular file.
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
 * A stream of the range's bytes. `openIt` opens the file. The revision is compared before the first byte and after the last. The
 * stream closes the file.
 *
 * @throws {SregistryError} STALE if the file is gone or was replaced.
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

/** Throws STALE if the open file no longer has this revision. */
export async function compareRevision(file: FileHandle, { path, revision }: RevisedFile): Promise<void> {
  const stats = await file.stat({ bigint: true });
  if (!stats.isFile() || fileRevision(stats) !== revision) throw stale(path);
}

export function stale(path: string, cause?: unknown): SregistryError {
  return new SregistryError('STALE', `${path} was replaced or removed since it was opened`, {
    hint: 'Open it again to read the current file',
    cause,
  });
}

function canceled({ path, signal }: FileRange): SregistryError {
  return new SregistryError('CANCELED', `Reading ${path} was canceled`, { cause: signal?.reason });
}
