import { SregistryError } from '../base/errors.ts';
import { isFull } from '../cache/degraded.ts';

export function inUse(path: string): SregistryError {
  return new SregistryError('IN_USE', `${path} is open for reading and cannot be written in place`, {
    hint: 'Write it under another name and rename it over this one, or wait until its readers are done',
  });
}

export function ended(path: string): SregistryError {
  return new SregistryError('CANCELED', `${path} cannot be written any more: its mount has ended`);
}

/** For a full disk, the error that says which disk and what to do; any other error unchanged. */
export function errorOfStaging(path: string, cause: unknown): unknown {
  return isFull(cause) ? diskFull(path, cause) : cause;
}

export function diskFull(path: string, cause?: unknown): SregistryError {
  return new SregistryError('NO_SPACE', `${path} cannot be staged: the disk of the cache directory is full`, {
    hint: 'Free space there, or set SREGISTRY_CACHEDIR to a larger disk',
    cause,
  });
}
