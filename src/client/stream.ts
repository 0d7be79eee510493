/** Fetches an image from its service straight into a file, if the cache has no room for it. */
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Backend, Progress } from '../backends/backend.ts';
import { SregistryError } from '../base/errors.ts';
import { formatImageName } from '../image/names.ts';
import type { RemoteImage } from '../image/remote.ts';

/** Writes the new file `file`, and removes it on failure. Throws CORRUPT if the bytes do not have the stated digest. */
export async function streamTo(
  backend: Backend,
  image: RemoteImage,
  file: string,
  { progress, signal }: { progress?: Progress | undefined; signal?: AbortSignal | undefined } = {},
): Promise<void> {
  const hash = createHash('sha256');
  let done = 0;
  const count = new Transform({
    transform(chunk: Buffer, _encoding, callback) {
      hash.update(chunk);
      done += chunk.length;
      progress?.(done, image.size);
      callback(null, chunk);
    },
  });
  const body = await backend.read(image, 0, image.size, signal);
  try {
    await pipeline(body, count, createWriteStream(file, { flags: 'wx', flush: true }), { signal });
    const actual = `sha256:${hash.digest('hex')}`;
    if (image.digest === undefined || image.digest === actual) return;
    throw new SregistryError(
      'CORRUPT',
      `${formatImageName(image.name)}: the bytes received have ${actual}, the service stated ${image.digest}`,
      { hint: 'Pull it again' },
    );
  } catch (error) {
    await rm(file, { force: true });
    throw error;
  }
}
