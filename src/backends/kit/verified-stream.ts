/** Streams of a service that cannot be asked for one revision: whether the bytes are of it is looked at before and after. */
import { Readable } from 'node:stream';

/**
 * The bytes of `stream`, which is open. `verify` throws if the file is another one by now; it is called before the first byte, and
 * before the last one, as the stream may have been opened again after a broken connection.
 */
export async function verifiedStream(stream: Readable, verify: () => Promise<void>): Promise<Readable> {
  try {
    await verify();
  } catch (error) {
    stream.destroy();
    throw error;
  }
  // A generator that has not begun would not end its source.
  return Readable.from(verified(stream, verify), { objectMode: false }).on('close', () => stream.destroy());
}

async function* verified(stream: Readable, verify: () => Promise<void>): AsyncGenerator<Buffer> {
  let last: Buffer = Buffer.alloc(0);
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    for (const part of [last, chunk.subarray(0, -1)]) if (part.length > 0) yield part;
    last = chunk.subarray(-1);
  }
  await verify();
  if (last.length > 0) yield last;
}
