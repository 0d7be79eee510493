/** The bytes of a registry's image as a source for src/image: read in place if the image is local, else through the cache. */
import type { Backend } from '../backends/backend.ts';
import { SregistryError } from '../base/errors.ts';
import type { RemoteImage } from '../image/remote.ts';
import { type ByteSource, handleSource } from '../image/source.ts';
import { isLayered } from './layered-images.ts';
import type { Session } from './session.ts';

/** Fetches the bytes that are read and few more; `await using` closes it. Throws NOT_PRESENTABLE if it is not an image file. */
export async function openImageSource(
  session: Session,
  backend: Backend,
  image: RemoteImage,
  signal?: AbortSignal,
): Promise<ByteSource & AsyncDisposable> {
  if (image.unpresentable !== undefined)
    throw new SregistryError(
      'NOT_PRESENTABLE',
      `${session.uri(backend, image.name)}: ${image.unpresentable}`,
    );
  if (backend.openLocal !== undefined) return handleSource(await backend.openLocal(image));
  if (isLayered(image))
    return session.layered.open(backend, image, session.current(backend, image), { signal });
  const cached = session.openCached(backend, image);
  const ahead = cached.readAhead();
  return {
    size: image.size,
    read: async (offset, length) => {
      const bytes = Buffer.alloc(Math.max(0, Math.min(length, image.size - offset)));
      const count = await cached.read(bytes, offset, bytes.length, ahead, signal);
      return bytes.subarray(0, count);
    },
    [Symbol.asyncDispose]: () => session.cache.close(cached),
  };
}
