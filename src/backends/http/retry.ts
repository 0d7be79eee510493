/**
 * The retry policy. It reads the error, never the call site. A failure that may pass (429, 5xx, a refused or broken connection, a
 * stall) is retried with exponential backoff and jitter within one deadline. Any other failure is final.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { abortError } from '../../base/abort.ts';
import { isError } from '../../base/errors.ts';
import { withRetries } from '../kit/retries.ts';
import { type Deadline, outOfTime } from './deadline.ts';
import { isPermanent, neverSent } from './errors.ts';

/** Attempts if the service says that it is busy: about 40 s of waiting. */
const BUSY_ATTEMPTS = 8;
/** Attempts if recovery is unlikely: about 1 s, so that a typo in a host name fails soon. */
const BROKEN_ATTEMPTS = 3;
/** Milliseconds before the first retry; doubled for each further one, times a random factor of 1 to 2. */
const FIRST_DELAY = 250;
const MAX_DELAY = 15_000;
/** Longest `Retry-After` to wait for, in milliseconds, even if the deadline allows more. */
const LONGEST_WAIT = 120_000;

/**
 * How many times a request that failed with this error may be sent in total. A request that is not idempotent is repeated only if
 * the service refused to act on it (429) or never received it.
 */
export function attemptsWorth(error: unknown, idempotent: boolean): number {
  if (!isError(error)) return 1;
  if (error.status === 429) return BUSY_ATTEMPTS;
  if (!idempotent) return neverSent(error) ? BROKEN_ATTEMPTS : 1;
  if (error.status === 502 || error.status === 503 || error.status === 504) return BUSY_ATTEMPTS;
  if (error.status === 500) return BROKEN_ATTEMPTS;
  const transient = isError(error, 'UNREACHABLE', 'TIMED_OUT') && !isPermanent(error);
  return transient ? BROKEN_ATTEMPTS : 1;
}

/** Runs `attempt` until it succeeds, fails finally, or the deadline passes. `what` names the request in messages. */
export async function withRetry<T>(
  attempt: (number: number) => Promise<T>,
  { deadline, idempotent, what }: { deadline: Deadline; idempotent: boolean; what: string },
): Promise<T> {
  let last: unknown;
  const budget = deadline.remaining();
  try {
    return await withRetries(attempt, {
      what,
      attempts: (error) => attemptsWorth(error, idempotent),
      signal: deadline.signal,
      firstDelay: FIRST_DELAY,
      maxDelay: MAX_DELAY,
      onFailure: async (error) => {
        last = error;
        await waitAsTold(error, deadline);
      },
    });
  } catch (error) {
    if (!deadline.signal.aborted) throw error;
    const aborted = abortError(deadline.signal, what);
    throw aborted.code === 'TIMED_OUT' && last !== undefined ? outOfTime(what, budget, last) : aborted;
  }
}

/** Waits for `Retry-After`. Throws the error at once if that is beyond the deadline. */
async function waitAsTold(error: unknown, deadline: Deadline): Promise<void> {
  if (!isError(error) || error.retryAfter === undefined) return;
  if (error.retryAfter > Math.min(deadline.remaining(), LONGEST_WAIT)) throw error;
  await sleep(error.retryAfter, undefined, { signal: deadline.signal });
}
