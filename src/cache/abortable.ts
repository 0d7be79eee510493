/** Ends a wait at once when a signal fires, even if what is waited for does not listen to the signal. */
import type { Readable } from 'node:stream';

/** `promise`, or the signal's reason as soon as it fires. What the promise gives after that goes to `dispose`. */
export async function abortable<T>(
  promise: Promise<T>,
  signal: AbortSignal,
  dispose: (late: T) => void = () => {},
): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  const abort = () => aborted.reject(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  if (signal.aborted) abort();
  try {
    return await Promise.race([promise, aborted.promise]);
  } catch (error) {
    promise.then(dispose, () => {});
    throw error;
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

/** The chunks of a stream, which is destroyed at the end, however it comes. */
export async function* chunksOf(stream: Readable, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  // A stream that is destroyed while nobody reads it must not throw where nobody catches.
  stream.on('error', () => {});
  const chunks: AsyncIterator<Uint8Array> = stream[Symbol.asyncIterator]();
  try {
    for (;;) {
      const { done, value } = await abortable(chunks.next(), signal);
      if (done) return;
      yield value;
      signal.throwIfAborted();
    }
  } finally {
    stream.destroy();
  }
}
