/** Random access to bytes, wherever they are: a file, memory, the cache, a remote image. */
import { type FileHandle, open } from 'node:fs/promises';
import { SregistryError } from '../base/errors.ts';

export interface ByteSource {
  /** Bytes in all. */
  readonly size: number;
  /** The bytes from `offset`; fewer than `length` only at the end of the source. Throws the errors of the medium. */
  read(offset: number, length: number): Promise<Uint8Array>;
}

/** A {@link ByteSource} over an open file, of its present size. The caller closes the handle. */
export async function fileSource(handle: FileHandle): Promise<ByteSource> {
  const { size } = await handle.stat();
  return { size, read: (offset, length) => readFully(handle, offset, length) };
}

/** Opens a file for reading; `await using` closes it. */
export async function openFileSource(path: string): Promise<ByteSource & AsyncDisposable> {
  return handleSource(await open(path));
}

/** A {@link ByteSource} over an open file. Closes the file itself: with `await using`, or if this call fails. */
export async function handleSource(handle: FileHandle): Promise<ByteSource & AsyncDisposable> {
  try {
    return Object.assign(await fileSource(handle), { [Symbol.asyncDispose]: () => handle.close() });
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** A {@link ByteSource} over bytes in memory. */
export function bytesSource(bytes: Uint8Array): ByteSource {
  return { size: bytes.length, read: async (offset, length) => bytes.subarray(offset, offset + length) };
}

/** The part of `source` from `offset`, up to `length` bytes of it, as a source of its own. */
export function sliceSource(source: ByteSource, offset: number, length: number): ByteSource {
  const size = Math.max(0, Math.min(length, source.size - offset));
  return {
    size,
    read: (at, count) => source.read(offset + at, Math.max(0, Math.min(count, size - at))),
  };
}

/** Exactly `length` bytes. @throws {SregistryError} CORRUPT if the source ends before. */
export async function readExactly(
  source: ByteSource,
  offset: number,
  length: number,
  what: string,
): Promise<Uint8Array> {
  const bytes = await source.read(offset, length);
  if (bytes.length === length) return bytes;
  throw new SregistryError(
    'CORRUPT',
    `The image ends inside ${what}: ${length} bytes from ${offset} are needed, the image has ${source.size}`,
    { hint: 'The file is truncated; download it again' },
  );
}

async function readFully(handle: FileHandle, offset: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  let done = 0;
  while (done < length) {
    const { bytesRead } = await handle.read(bytes, done, length - done, offset + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return bytes.subarray(0, done);
}
