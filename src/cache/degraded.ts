/** Tells when the cache cannot keep bytes. Reads then go through to the service. */
import { isError, systemCode } from '../base/errors.ts';

/** Did it fail because cache or disk have no room? */
export function isFull(error: unknown): boolean {
  return isError(error, 'NO_SPACE') || ['ENOSPC', 'EDQUOT'].includes(systemCode(error) ?? '');
}

/** Did it fail because the cache can keep nothing now: no room, or an index that is busy or out of order? */
export function isUnusable(error: unknown): boolean {
  return isFull(error) || isError(error, 'DATABASE');
}
