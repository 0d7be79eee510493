/** Downloads a whole resource under a temporary name, then moves it into place. */
import { createWriteStream } from 'node:fs';
import { mkdtemp, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Progress } from '../../base/progress.ts';
import { openStream, type StreamOptions } from './range.ts';
import type { Transport } from './transport.ts';

export interface DownloadOptions extends Pick<StreamOptions, 'headers' | 'signal' | 'total' | 'ifMatch'> {
  /** Called with a total of 0 if the service does not state the size. */
  readonly progress?: Progress | undefined;
}

/** Returns the number of bytes written. The file appears at `path` only when it is whole, and replaces an existing one. */
export async function download(
  transport: Transport,
  url: string | URL,
  path: string,
  { progress, ...options }: DownloadOptions = {},
): Promise<number> {
  const folder = await mkdtemp(join(dirname(path), '.download-'));
  try {
    const file = join(folder, basename(path));
    const { body, total = 0 } = await openStream(transport, url, options);
    let done = 0;
    const counter = new Transform({
      transform(chunk: Buffer, _encoding, callback) {
        done += chunk.length;
        progress?.(done, total);
        callback(null, chunk);
      },
    });
    await pipeline(body, counter, createWriteStream(file));
    await rename(file, path);
    return done;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
