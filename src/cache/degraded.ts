/** Tells whether a failure means that the cache cannot keep bytes. Reads then go through to the service. */
import { isError, systemCode } from '../base/errors.ts';

/** Did it fail because cache or disk have no room? */
export function isFull(error: unknown): boolean {
  return isError(error, 'NO_SPACE') || ['ENOSPC', 'EDQUOT'].includes(systemCode(error) ?? '');
}

/** Did it fail because the cache can keep nothing now: no room, or a busy or broken index? */
export function isUnusable(error: unknown): boolean {
  return isFull(error) || isError(error, 'DATABASE');
}
