/**
 * The digest of a file to push: given, or computed in a thread. The digest of a large file is computed while the file goes up, with the
 * thread ahead of the upload: it has no network to wait for, and what it has read is still in memory when the upload reads it.
 */
import { stat } from 'node:fs/promises';
import { fileError, fileRevision } from '../../base/files.ts';
import { sha256File } from '../../base/hash.ts';
import { changedWhilePushed } from '../kit/changed.ts';

export interface FileToPush {
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  /** `sha256:<hex>`, if known. */
  readonly digest?: string | undefined;
}

export interface FileDigest extends AsyncDisposable {
  /** The digest as soon as it is known. */
  readonly known: string | undefined;
  /** Tells this file from others while its digest is not known: changes with the file's bytes. Undefined if the digest was known at once. */
  readonly revision: string | undefined;
  /**
   * The digest of the whole file. Throws CORRUPT if the file has changed since the beginning, CANCELED, or why it cannot be read
   * (NOT_FOUND, FORBIDDEN).
   */
  get(): Promise<string>;
}

/**
 * Files up to this size are hashed before anything is sent: that takes less than a tenth of a second, and the registry is then asked
 * first whether it has the blob. A larger file would wait for longer than the bytes cost that go up for nothing.
 */
export const HASH_FIRST = 64 * 1024 * 1024;

/** Starts to compute the digest of a file, unless it is known. Waits for it if the file has at most `hashFirst` bytes. */
export async function digestAhead(
  file: FileToPush,
  { hashFirst = HASH_FIRST, signal }: { hashFirst?: number | undefined; signal?: AbortSignal | undefined },
): Promise<FileDigest> {
  const { path, size, digest } = file;
  if (digest !== undefined) return known(digest);
  const revision = await revisionOf(file);
  const stop = new AbortController();
  const hashing = hash(path, {
    end: size,
    signal: AbortSignal.any([stop.signal, ...(signal ? [signal] : [])]),
  });
  if (size <= hashFirst) return known(await hashing);
  let found: string | undefined;
  const done = hashing.then(
    (value) => {
      found = value;
    },
    // The upload learns of it when it asks for the digest.
    () => {},
  );
  return {
    get known() {
      return found;
    },
    revision,
    get: async () => {
      const value = await hashing;
      if ((await revisionOf(file)) !== revision) throw changed(path);
      return value;
    },
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      await done;
    },
  };
}

function known(digest: string): FileDigest {
  return {
    known: digest,
    revision: undefined,
    get: async () => digest,
    [Symbol.asyncDispose]: async () => {},
  };
}

async function hash(path: string, options: { end: number; signal: AbortSignal }): Promise<string> {
  return sha256File(path, options).catch((error: unknown) => {
    throw fileError('read', path, error);
  });
}

async function revisionOf({ path, size }: FileToPush): Promise<string> {
  const stats = await stat(path, { bigint: true }).catch((error: unknown) => {
    throw fileError('read', path, error);
  });
  if (stats.size !== BigInt(size)) throw changed(path);
  return fileRevision(stats);
}

function changed(path: string): Error {
  return changedWhilePushed(`${path}: the file has changed since its push began`);
}
