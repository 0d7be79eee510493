/** Sharing an image: a presigned link, which anybody can GET until it ends. */
import { SregistryError } from '../../base/errors.ts';
import type { RemoteImage, ShareOptions } from '../backend.ts';
import type { Bucket } from './bucket.ts';
import { handleOf } from './images.ts';
import { LONGEST_LINK } from './signer.ts';

/** With a temporary access key the link ends when the key does. */
export async function shareImage(
  bucket: Bucket,
  image: RemoteImage,
  { email, expires = LONGEST_LINK }: ShareOptions,
  signal?: AbortSignal,
): Promise<string> {
  if (email !== undefined)
    throw new SregistryError('UNSUPPORTED', 'S3 has no way to share with an email address', {
      hint: 'leave it out, and send the link yourself',
    });
  const seconds = Math.ceil(expires);
  if (!(seconds >= 1 && seconds <= LONGEST_LINK))
    throw new SregistryError('USAGE', 'a link of S3 lives for 7 days at most', {
      hint: 'for instance --expires 7d',
    });
  const { key, version, pinned } = handleOf(image);
  return bucket.presign(key, pinned ? { versionId: version } : {}, seconds, signal);
}
