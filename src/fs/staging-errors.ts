import { SregistryError, systemCode } from '../base/errors.ts';

/** Turns a full disk under the staging folder into an error that says which disk and what to do; rethrows the rest. */
export function errorOfStaging(path: string): (cause: unknown) => never {
  return (cause) => {
    if (!['ENOSPC', 'EDQUOT'].includes(systemCode(cause) ?? '')) throw cause;
    throw new SregistryError(
      'NO_SPACE',
      `${path} cannot be staged: the disk of the cache directory is full`,
      {
        hint: 'Free space there, or set SREGISTRY_CACHEDIR to a larger disk',
        cause,
      },
    );
  };
}
