/**
 * Receives a range of one image revision from its service: exactly the bytes asked for, or an error. A wait ends as soon as the
 * signal fires, even if the source ignores the signal. The source's stream is destroyed in the end, whatever happens.
 */
import type { Readable } from 'node:stream';
import { SregistryError } from '../base/errors.ts';

export interface RangeSource {
  /** Exactly `length` bytes from `offset` of one revision, as a backend's `read` gives them. */
  (offset: number, length: number, signal: AbortSignal): Promise<Readable>;
  /** Set if the bytes are decoded from others. Whoever made the source counts what comes over the network. */
  readonly decoded?: DecodedSource | undefined;
}

/** What a source tells that decodes a whole part for each byte of the part. */
export interface DecodedSource {
  /**
   * What it gives at no further cost when `offset..end` is read, and what it advises to read of `end..until`: a range that holds
   * `offset..end`.
   */
  widen(offset: number, end: number, until: number): { readonly offset: number; readonly end: number };
}

/** Where the bytes of a revision come from. */
export interface Origin {
  /** Names the image in messages. */
  readonly uri: string;
  readonly source: RangeSource;
}

/**
 * Yields the `length` bytes from `offset` on as they arrive. SERVICE if the service sends more or fewer; the signal's reason
 * if it fires; else the source's errors.
 */
export async function* receive(
  { uri, source }: Origin,
  offset: number,
  length: number,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const stream = await abortable(source(offset, length, signal), signal, (late) => late.destroy());
  let received = 0;
  for await (const chunk of chunksOf(stream, signal)) {
    received += chunk.length;
    if (received > length)
      throw new SregistryError(
        'SERVICE',
        `The service sent more than the ${length} bytes asked for of ${uri}`,
      );
    yield chunk;
  }
  if (received < length)
    throw new SregistryError(
      'SERVICE',
      `The service sent ${received} of the ${length} bytes asked for of ${uri}`,
    );
}

/** `promise`, or the signal's reason as soon as it fires. If the promise resolves after that, `dispose` gets its value. */
async function abortable<T>(
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

/** The chunks of a stream. Destroys the stream at the end. */
async function* chunksOf(stream: Readable, signal: AbortSignal): AsyncGenerator<Uint8Array> {
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
