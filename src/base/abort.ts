/** Turns an aborted signal into an error, and ends a wait when a signal fires. */
import { isError, SregistryError } from './errors.ts';

/** The error for an aborted signal: its reason if that is a SregistryError, else TIMED_OUT or CANCELED. */
export function abortError(signal: AbortSignal, what: string): SregistryError {
  if (isError(signal.reason)) return signal.reason;
  if (signal.reason?.name === 'TimeoutError')
    return new SregistryError('TIMED_OUT', `${what} did not finish in time`, {
      cause: signal.reason,
    });
  return new SregistryError('CANCELED', `${what}: canceled`, { cause: signal.reason });
}

/**
 * The outcome of `work`, or the signal's reason as soon as it fires. For work that does not watch the signal itself; its later
 * outcome is ignored.
 */
export async function untilAborted<T>(work: PromiseLike<T> | T, signal: AbortSignal): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  const leave = () => aborted.reject(signal.reason);
  if (signal.aborted) leave();
  signal.addEventListener('abort', leave, { once: true });
  try {
    return await Promise.race([aborted.promise, work]);
  } finally {
    signal.removeEventListener('abort', leave);
  }
}
