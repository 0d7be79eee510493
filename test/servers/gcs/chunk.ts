import type { IncomingMessage } from 'node:http';

/** Google takes chunks in multiples of this many bytes, but for the last one. */
export const GRANULE = 256 * 1024;

/**
 * What a session has after a chunk that begins at `start`. If the chunk breaks off, the session keeps the whole granules of it.
 * The caller stores the rest.
 */
export async function receiveChunk(
  request: IncomingMessage,
  session: { bytes: Buffer },
  start: number,
): Promise<Buffer> {
  const before = session.bytes;
  const chunks = [before.subarray(0, start)];
  try {
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  } catch (error) {
    const part = Buffer.concat(chunks);
    session.bytes = part.subarray(0, Math.max(before.length, part.length - (part.length % GRANULE)));
    throw error;
  }
  return Buffer.concat(chunks);
}
