/** The loop of every retry: exponential backoff with jitter, ended by a signal. Whoever calls says what is worth another attempt. */
import pRetry from 'p-retry';
import { abortError } from '../../base/abort.ts';
import { debugLog } from '../../log/index.ts';

const debug = debugLog('retry');

export interface RetryBudget {
  /** Attempts that a failure like this is worth, the first included; 1 is none but the first. */
  readonly attempts: (error: unknown) => number;
  /** What is attempted, for messages. */
  readonly what: string;
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds before the second attempt, times a random factor of 1 to 2; doubled for each further one. Default 500. */
  readonly firstDelay?: number | undefined;
  /** Milliseconds between two attempts at most. Default: no limit. */
  readonly maxDelay?: number | undefined;
  /** Called after a failure that another attempt follows, and awaited; throws to give up. */
  readonly onFailure?: ((error: unknown) => Promise<void> | void) | undefined;
}

const FIRST_DELAY = 500;
/** No budget is larger. */
const MOST_RETRIES = 20;

/** Runs `attempt`, which gets its number from 1, until it succeeds or its failure is not worth another attempt. */
export async function withRetries<T>(
  attempt: (number: number) => Promise<T>,
  { attempts, what, signal, firstDelay = FIRST_DELAY, maxDelay, onFailure }: RetryBudget,
): Promise<T> {
  try {
    return await pRetry(attempt, {
      retries: MOST_RETRIES,
      minTimeout: firstDelay,
      ...(maxDelay !== undefined && { maxTimeout: maxDelay }),
      randomize: true,
      shouldRetry: ({ error, attemptNumber }) => attemptNumber < attempts(error),
      onFailedAttempt: async ({ error, attemptNumber }) => {
        if (signal?.aborted || attemptNumber >= attempts(error)) return;
        debug('%s: %s', what, error.message);
        await onFailure?.(error);
      },
      ...(signal && { signal }),
    });
  } catch (error) {
    throw signal?.aborted ? abortError(signal, what) : error;
  }
}
