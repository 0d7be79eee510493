/** Files as the bodies of requests. */
import { createReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import type { Progress } from './backend.ts';

/** Bytes read from disk at once. */
const CHUNK = 256 * 1024;

/** A body that is read from the file when it is sent, and anew when it is sent again; `progress` hears of it. */
export function fileBody(
  file: { readonly path: string; readonly size: number },
  progress?: Progress,
): () => Readable {
  return () => {
    let done = 0;
    const chunks = createReadStream(file.path, { highWaterMark: CHUNK }) as AsyncIterable<Buffer>;
    const counted = async function* () {
      for await (const chunk of chunks) {
        done += chunk.length;
        progress?.(done, file.size);
        yield chunk;
      }
    };
    return Readable.from(counted(), { objectMode: false });
  };
}
