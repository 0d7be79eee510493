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
 * it is.
 */
export function fileBody(file: FilePart, progress?: Progress): () => Readable {
  const { start = 0, end = file.size } = file;
  return () => {
    let done = start;
    const range = { start, end: Math.max(start, end - 1), highWaterMark: CHUNK };
    const chunks = createReadStream(file.path, range) as AsyncIterable<Buffer>;
    const counted = async function* () {
      try {
        for await (const chunk of chunks) {
          done += chunk.length;
          progress?.(done, file.size);
          yield chunk;
        }
      } catch (error) {
        throw fileError('read', file.path, error);
      }
    };
    return Readable.from(counted(), { objectMode: false });
  };
}
