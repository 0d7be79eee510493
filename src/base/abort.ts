/** Turns an aborted signal into an error, and ends a wait when a signal fires. */
import { isError, SregistryError } from './errors.ts';

/** The error for an aborted signal: its reason where that is an error of ours (a deadline's), else TIMED_OUT or CANCELED. */
export function abortError(signal: AbortSignal, what: string): SregistryError {
  if (isError(signal.reason)) return signal.reason;
  if (signal.reason?.name === 'TimeoutError')
    return new SregistryError('TIMED_OUT', `${what} did not finish in time`, {
      cause: signal.reason,
    });
  return new SregistryError('CANCELED', `${what}: canceled`, { cause: signal.reason });
}

/**
 * What `work` comes to, or the signal's reason as soon as it fires: for work that does not look at the signal itself. What the
 * work comes to afterwards is ignored.
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
