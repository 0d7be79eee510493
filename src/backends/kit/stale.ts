import { isError, SregistryError } from '../../base/errors.ts';

/**
 * STALE for a handle that the driver cannot read: another version of the driver wrote it to the catalog, or it is damaged. The caller
 * then looks the image up again.
 */
export function unreadableHandle(target: string): SregistryError {
  return new SregistryError('STALE', `What is remembered of an image in ${target} cannot be read`, {
    hint: 'open it again to look it up anew',
  });
}

/** Converts NOT_FOUND and STALE to one STALE error about `what`, which existed when it was looked up. Returns other errors unchanged. */
export function goneIsStale(error: unknown, what: string): unknown {
  if (!isError(error, 'NOT_FOUND', 'STALE')) return error;
  return new SregistryError('STALE', `${what} was replaced or removed since it was looked up`, {
    hint: 'open it again to read the current image',
    cause: error,
    status: error.status,
  });
}
