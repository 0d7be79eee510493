/** Files as the bodies of requests. */
import { createReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import { fileError } from '../base/files.ts';
import type { Progress } from './backend.ts';

/** Bytes read from disk at once. */
const CHUNK = 256 * 1024;

export interface FilePart {
  readonly path: string;
  /** Bytes of the whole file. */
  readonly size: number;
  /** First byte, and the one after the last. Default: the whole file. */
  readonly start?: number | undefined;
  readonly end?: number | undefined;
}

/**
 * A body that is read from the file when it is sent, and anew when it is sent again; `progress` hears how far into the file
 * it is. A file that cannot be read fails the request with its own error, NOT_FOUND or FORBIDDEN.
 */
export function fileBody(file: FilePart, progress?: Progress): () => Readable {
  const { path, size, start = 0, end = size } = file;
  const range = { start, end: Math.max(start, end - 1), highWaterMark: CHUNK };
  async function* read() {
    let done = start;
    try {
      // Opened when it is read: a stream that fails while nobody reads it ends the process.
      for await (const chunk of createReadStream(path, range) as AsyncIterable<Buffer>) {
        done += chunk.length;
        progress?.(done, size);
        yield chunk;
      }
    } catch (error) {
      throw fileError('read', path, error);
    }
  }
  return () => Readable.from(read(), { objectMode: false });
}
