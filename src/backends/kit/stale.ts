import { isError, SregistryError } from '../../base/errors.ts';

/** STALE for a revision that has been deleted or replaced since it was looked up; other errors as they are. */
export function goneIsStale(error: unknown, what: string): unknown {
  if (!isError(error, 'NOT_FOUND', 'STALE')) return error;
  return new SregistryError('STALE', `${what} is no longer the file it was`, {
    hint: 'open it again for the new one',
    cause: error,
    status: error.status,
  });
}
