/** Removing images: that generation, and no newer one that somebody has pushed meanwhile. */
import { isError } from '../../base/errors.ts';
import type { RemoteImage } from '../backend.ts';
import type { Bucket } from './bucket.ts';
import { goneIsStale, handleOf, hasSide } from './images.ts';
import { sideNameOf } from './metadata.ts';

export async function removeImage(bucket: Bucket, image: RemoteImage, signal?: AbortSignal): Promise<void> {
  const { object, generation } = handleOf(image);
  try {
    await removeObject(bucket, object, generation, signal);
    if (hasSide(image)) await removeObject(bucket, sideNameOf(object), undefined, signal);
  } catch (error) {
    throw goneIsStale(error, bucket, object);
  }
}

/** No error where there is none. Where it is another generation, STALE. */
export async function removeObject(
  bucket: Bucket,
  object: string,
  generation: string | undefined,
  signal?: AbortSignal,
): Promise<void> {
  try {
    const query = { ifGenerationMatch: generation };
    await bucket.request('DELETE', bucket.objectPath(object), { query, signal });
  } catch (error) {
    if (!isError(error, 'NOT_FOUND')) throw error;
  }
}
