/** Puts that must replace nothing, where the service decides it with a condition of the request. */
import type { Readable } from 'node:stream';
import { isError, SregistryError } from '../../base/errors.ts';

/** What a condition that does not hold is answered with; 409 where another request for the key is under way. */
const UNMET = [409, 412];

/** EXISTS for a condition that does not hold; other errors as they are. */
export function unmetIsExists(error: unknown, what: string): unknown {
  if (!isError(error) || !UNMET.includes(error.status ?? 0)) return error;
  return new SregistryError('EXISTS', `${what} is there already`, { cause: error });
}

/**
 * Sends a body on that condition. A request that was sent again after its answer was lost finds its own file there: `findOwn` looks
 * for it then.
 */
export async function putIfAbsent<T>(
  what: string,
  open: () => Readable,
  put: (open: () => Readable) => Promise<T>,
  findOwn: () => Promise<T | undefined>,
): Promise<T> {
  let sent = 0;
  const counted = () => {
    sent += 1;
    return open();
  };
  try {
    return await put(counted);
  } catch (error) {
    const exists = unmetIsExists(error, what);
    const own = sent > 1 && isError(exists, 'EXISTS') ? await findOwn() : undefined;
    if (own === undefined) throw exists;
    return own;
  }
}
