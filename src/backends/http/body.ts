/** Bodies read whole, with a bound. */
import type { Readable } from 'node:stream';
import { SregistryError } from '../../base/errors.ts';
import { showRequest, type Where } from './errors.ts';

/** Reads a body of at most `limit` bytes; more is the error SERVICE. */
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

/** The beginning of a body, for an error's message; what cannot be read is no further error. */
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
    // The status alone tells enough.
  }
  return Buffer.concat(chunks, size).toString('utf8', 0, limit);
}

/** Parses JSON; what is not JSON is the error SERVICE. */
export function parseJson(text: string, where: Where): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new SregistryError('SERVICE', `${showRequest(where)}: the answer is malformed JSON`, {
      hint: 'check that the address is that of the service, and not of a proxy or a login page',
      cause,
    });
  }
}
