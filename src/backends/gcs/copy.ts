/** Lets the service copy objects within the bucket: a rewrite, which may take several requests. */
import { SregistryError } from '../../base/errors.ts';
import { followPages } from '../kit/pages.ts';
import type { CopyOptions } from '../kit/store.ts';
import type { Bucket } from './bucket.ts';
import { newObject } from './insert.ts';
import { getObject, type ObjectRef, type StoredObject, toObject } from './objects.ts';

export async function copyObject(
  bucket: Bucket,
  from: ObjectRef,
  key: string,
  { metadata, signal }: CopyOptions,
): Promise<StoredObject> {
  const source = await getObject(bucket, from, signal);
  if (source === undefined) throw new SregistryError('STALE', `${bucket.show(from.key)} is gone`);
  const path = `${bucket.objectPath(from.key, 'rewriteTo')}${bucket.path('o', key).replace('/storage/v1', '')}`;
  const json = newObject(bucket, key, metadata);
  const query = {
    sourceGeneration: from.generation,
    destinationPredefinedAcl: bucket.publishes ? 'publicRead' : undefined,
  };
  const steps = followPages<Record<string, unknown>, string>(
    `${bucket.show(from.key)}: its copy`,
    async (rewriteToken) => {
      const options = { query: { ...query, rewriteToken }, json, idempotent: true, signal };
      const answer = ((await bucket.request('POST', path, options)).json() ?? {}) as Record<string, unknown>;
      return { page: answer, next: answer.done === true ? undefined : (answer.rewriteToken as string) };
    },
  );
  let last: Record<string, unknown> = {};
  for await (const step of steps) last = step;
  const stored = toObject(last.resource, bucket);
  if (stored.size === source.size && stored.crc32c === source.crc32c && stored.md5 === source.md5)
    return stored;
  throw new SregistryError('CORRUPT', `${bucket.show(key)}: the copy has different bytes than its original`);
}
