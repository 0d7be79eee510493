/** Removing an image. A bucket that keeps versions hides it; asked for by its version, that version is gone for good. */
import { SregistryError } from '../../base/errors.ts';
import type { RemoteImage } from '../backend.ts';
import type { Bucket } from './bucket.ts';
import { handleOf, headObject, opaque } from './images.ts';
import { removeSide } from './push.ts';

/** STALE where another revision is there now. */
export async function removeImage(bucket: Bucket, image: RemoteImage, signal?: AbortSignal): Promise<void> {
  const { key, etag, version, pinned, side } = handleOf(image);
  if (pinned) {
    await bucket.request('DELETE', key, { query: { versionId: version }, signal });
    return;
  }
  const present = await headObject(bucket, key, {}, signal);
  if (present === undefined) return;
  if (opaque(present.headers.etag ?? '') !== opaque(etag))
    throw new SregistryError('STALE', `${bucket.show(key)} has been replaced since it was looked up`);
  await bucket.request('DELETE', key, { signal });
  if (side) await removeSide(bucket, key, signal);
}
