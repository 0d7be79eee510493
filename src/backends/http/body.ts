/** Reads bodies: chunk by chunk, or whole ones of limited size. */
import { finished, type Readable } from 'node:stream';
import { SregistryError } from '../../base/errors.ts';
import { showRequest, type Where } from './errors.ts';

/** Reads a body. Throws SERVICE if it is longer than `limit` bytes. */
export async function readAll(body: Readable, limit: number, where: Where): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > limit)
      throw new SregistryError('SERVICE', `${showRequest(where)}: the answer is longer than ${limit} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, size);
}

/** The beginning of a body, for an error message. Returns what it got if reading fails. */
export async function readBeginning(body: Readable, limit: number): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      size += chunk.length;
      if (size >= limit) break;
    }
  } catch {
    // The status alone is enough for the message.
  }
  return Buffer.concat(chunks, size).toString('utf8', 0, limit);
}

/**
 * The chunks of a body, as they arrive. Node's own iterator copies chunks that arrive faster than they are taken into one, which is
 * most of the work of a fast download. Destroys the body at the end.
 */
export async function* chunksOf(body: Readable): AsyncGenerator<Buffer> {
  const chunks: Buffer[] = [];
  let ended: { readonly error: unknown } | undefined;
  let wake = () => {};
  body.on('data', (chunk: Buffer) => {
    chunks.push(chunk);
    body.pause();
    wake();
  });
  const stopListening = finished(body, (error) => {
    ended = { error };
    wake();
  });
  try {
    for (;;) {
      const chunk = chunks.shift();
      if (chunk !== undefined) {
        yield chunk;
        continue;
      }
      if (ended !== undefined) break;
      const change = new Promise<void>((resolve) => {
        wake = resolve;
      });
      body.resume();
      await change;
    }
    if (ended.error) throw ended.error;
  } finally {
    stopListening();
    body.destroy();
  }
}

/** Parses JSON. Throws SERVICE if the text is malformed. */
export function parseJson(text: string, where: Where): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new SregistryError('SERVICE', `${showRequest(where)}: the answer is malformed JSON`, {
      hint: 'check that the address is that of the service, not of a proxy or a login page',
      cause,
    });
  }
}
