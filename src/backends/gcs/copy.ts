/** Copies within the bucket, by the service itself: a rewrite, which takes several requests if it takes long. */
import { isError, SregistryError } from '../../base/errors.ts';
import type { ImageName } from '../../image/name.ts';
import type { RemoteImage } from '../backend.ts';
import type { Bucket } from './bucket.ts';
import { goneIsStale, handleOf, toRemoteImage } from './images.ts';
import { storeMetadata } from './metadata.ts';
import { getObject, type StoredObject, toObject } from './objects.ts';
import { newObject, putSide, targetOf } from './push.ts';

/** Requests after which a rewrite counts as endless; each moves at least a mebibyte, and mostly gigabytes. */
const MAX_REQUESTS = 100_000;

export async function copyImage(
  bucket: Bucket,
  from: RemoteImage,
  to: ImageName,
  signal?: AbortSignal,
): Promise<RemoteImage> {
  const { object, generation } = handleOf(from);
  const source = await getObject(bucket, object, { generation, signal });
  if (source === undefined) throw goneIsStale(new SregistryError('NOT_FOUND', object), bucket, object);
  const target = await targetOf(bucket, to, signal);
  const { metadata, side } = storeMetadata(to, target.object, from.digest, from.annotations);
  if (side !== undefined) await putSide(bucket, target.object, side, signal);
  const stored = await rewrite(bucket, source, newObject(bucket, target.object, metadata), signal);
  const isSame = stored.size === source.size && stored.crc32c === source.crc32c && stored.md5 === source.md5;
  if (!isSame)
    throw new SregistryError(
      'CORRUPT',
      `${bucket.show(stored.name)}: the copy has other bytes than its original`,
    );
  return { ...toRemoteImage(to, stored), annotations: from.annotations };
}

async function rewrite(
  bucket: Bucket,
  source: StoredObject,
  target: ReturnType<typeof newObject>,
  signal?: AbortSignal,
): Promise<StoredObject> {
  const path = `${bucket.objectPath(source.name, 'rewriteTo')}${bucket.path('o', target.name).replace('/storage/v1', '')}`;
  let rewriteToken: string | undefined;
  for (let request = 0; request < MAX_REQUESTS; request++) {
    const query = {
      sourceGeneration: source.generation,
      destinationPredefinedAcl: bucket.publishes ? 'publicRead' : undefined,
      rewriteToken,
    };
    const reply = await bucket
      .request('POST', path, { query, json: target, idempotent: true, signal })
      .catch((error: unknown) => {
        throw isError(error, 'NOT_FOUND') ? goneIsStale(error, bucket, source.name) : error;
      });
    const answer = (reply.json() ?? {}) as Record<string, unknown>;
    if (answer.done === true) return toObject(answer.resource, bucket);
    if (typeof answer.rewriteToken !== 'string') break;
    rewriteToken = answer.rewriteToken;
  }
  throw new SregistryError('SERVICE', `${bucket.show(source.name)}: copying it does not come to an end`);
}
