import { describeError, isError } from '../../base/errors.ts';
import { debugLog } from '../../log/index.ts';
import { attemptsWorth } from '../http.ts';
import { withRetries } from './retries.ts';

const debug = debugLog('upload');

/** May a later push continue an upload after this failure? If not, the upload is to be forgotten, or no push would ever succeed. */
export function mayGoOn(error: unknown): boolean {
  return isError(error, 'CANCELED', 'UNAUTHORIZED', 'NO_SPACE') || attemptsWorth(error, true) > 1;
}

/** Attempts to ask about an earlier upload. */
const ASK_ATTEMPTS = 4;

interface Asking {
  /** Names the upload in messages. */
  readonly what: string;
  readonly signal?: AbortSignal | undefined;
}

/**
 * What an earlier upload has come to, or undefined if a new one has to begin. An outage does not cost what was sent: the question is
 * repeated. What is saved of an upload may outlive the server that it was sent to, so the push then tries a new upload; if the outage
 * lasts, that fails too, and the next push asks again about the earlier one.
 */
export async function unlessLost<T>(ask: () => Promise<T>, { what, signal }: Asking): Promise<T | undefined> {
  const attempts = (error: unknown) => (attemptsWorth(error, true) > 1 ? ASK_ATTEMPTS : 1);
  try {
    return await withRetries(ask, { what, attempts, signal });
  } catch (error) {
    if (isError(error, 'CANCELED')) throw error;
    debug('%s: not resumed: %s', what, describeError(error));
    return undefined;
  }
}
