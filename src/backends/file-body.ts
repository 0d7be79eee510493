/** Request bodies that are read from files. */
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
 * A body that reads the file each time it is sent. `progress` gets the position in the file. If the file cannot be read, the request
 * fails with that error (NOT_FOUND, FORBIDDEN).
 */
export function fileBody(file: FilePart, progress?: Progress): () => Readable {
  const { path, size, start = 0, end = size } = file;
  const range = { start, end: Math.max(start, end - 1), highWaterMark: CHUNK };
  async function* read() {
    let done = start;
    try {
      // Open the file only when somebody reads: an error of a stream without a reader would end the process.
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
