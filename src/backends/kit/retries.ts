/** The retry loop: exponential backoff with jitter, until a signal fires. The caller decides which failures are retried. */
import pRetry from 'p-retry';
import { abortError } from '../../base/abort.ts';
import { bot } from '../../log/index.ts';

export interface RetryBudget {
  /** Maximum number of attempts after this failure, including the first; 1 means no retry. */
  readonly attempts: (error: unknown) => number;
  /** Names the work in messages. */
  readonly what: string;
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds before the second attempt, times a random factor of 1 to 2; doubled for each further one. Default 500. */
  readonly firstDelay?: number | undefined;
  /** Longest delay between two attempts in milliseconds. Default: no limit. */
  readonly maxDelay?: number | undefined;
  /** Called and awaited after a failure, before the next attempt. If it throws, the retries end. */
  readonly onFailure?: ((error: unknown) => Promise<void> | void) | undefined;
}

const FIRST_DELAY = 500;
/** Upper limit of all budgets. */
const MOST_RETRIES = 20;

/** Runs `attempt` with its number, from 1, until it succeeds or its budget is used up. */
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
        bot.verbose(`${what} failed and is tried again: ${error.message}`);
        await onFailure?.(error);
      },
      ...(signal && { signal }),
    });
  } catch (error) {
    throw signal?.aborted ? abortError(signal, what) : error;
  }
}
