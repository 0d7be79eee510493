import { isError, SregistryError } from '../../base/errors.ts';

/** Converts NOT_FOUND and STALE to one STALE error about `what`, which existed when it was looked up. Returns other errors unchanged. */
export function goneIsStale(error: unknown, what: string): unknown {
  if (!isError(error, 'NOT_FOUND', 'STALE')) return error;
  return new SregistryError('STALE', `${what} was replaced or removed since it was looked up`, {
    hint: 'open it again to read the current image',
    cause: error,
    status: error.status,
  });
}
