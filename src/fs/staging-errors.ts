import { isError, SregistryError, systemCode } from '../base/errors.ts';

export function inUse(path: string): SregistryError {
  return new SregistryError('IN_USE', `${path} is open for reading and cannot be written in place`, {
    hint: 'Write it under another name and rename it over this one, or wait until its readers are done',
  });
}

/** Is the disk under the staging folder full, or the quota on it used up? */
export function isDiskFull(error: unknown): boolean {
  return isError(error, 'NO_SPACE') || ['ENOSPC', 'EDQUOT'].includes(systemCode(error) ?? '');
}

/** For a full disk under the staging folder, an error that says which disk and what to do; any other as it is. */
export function errorOfStaging(path: string, cause: unknown): unknown {
  if (!isDiskFull(cause)) return cause;
  return new SregistryError('NO_SPACE', `${path} cannot be staged: the disk of the cache directory is full`, {
    hint: 'Free space there, or set SREGISTRY_CACHEDIR to a larger disk',
    cause,
  });
}
