/** A bucket as a store. An object is a file, and its version or entity tag the revision. */
import type { Readable } from 'node:stream';
import { isError, SregistryError } from '../../base/errors.ts';
import { debugLog } from '../../log/index.ts';
import type { ShareOptions } from '../backend.ts';
import { LONGEST_LINK } from '../kit/aws/signer.ts';
import { goneIsStale } from '../kit/stale.ts';
import type { Page, Range, Store } from '../kit/store.ts';
import type { Bucket } from './bucket.ts';
import { COPY_LIMITS, copyObject } from './copy.ts';
import { METADATA } from './metadata.ts';
import { headObject, listObjects, type ObjectRef, opaque } from './objects.ts';
import { putObject, putSmall } from './put.ts';
import { findVersion, keepsVersions } from './versions.ts';

const debug = debugLog('s3');

/** Entries per page if only a few keys are wanted. */
const FEW = 20;

export function bucketStore(bucket: Bucket, copyLimits = COPY_LIMITS): Store {
  return {
    target: bucket.endpoint.target,
    metadata: METADATA,
    show: (key) => bucket.show(key),
    stat: (key, signal) => headObject(bucket, key, {}, signal),
    list: (prefix, signal) => listFolder(bucket, prefix, signal),
    listPrefix: (prefix, from, signal) => listObjects(bucket, { prefix, ...startOf(from) }, signal),
    open: (ref, range) => openObject(bucket, ref, range),
    put: (key, file, options) => putObject(bucket, key, file, options),
    getSmall: async (key, signal) => (await bucket.request('GET', key, { signal })).bytes,
    putSmall: (key, bytes, signal) => putSmall(bucket, key, bytes, signal),
    remove: (ref, signal) => removeObject(bucket, ref, signal),
    copy: (from, key, options) => copyObject(bucket, from, key, options, copyLimits),
    link: (ref, options, signal) => presign(bucket, ref, options, signal),
    version: (keys, id, signal) => findVersion(bucket, keys, id, signal),
    isRef: ({ etag, version }) =>
      typeof etag === 'string' && (version === undefined || typeof version === 'string'),
    check: async (signal) => {
      try {
        await bucket.request('HEAD', '', { signal });
      } catch (error) {
        throw isError(error, 'NOT_FOUND') ? bucket.noSuchBucket(error) : error;
      }
    },
    close: () => bucket.close(),
  };
}

/** `from` is the first wanted key; S3 lists only keys after the given one. */
const startOf = (from: string | undefined) =>
  from === undefined ? {} : { startAfter: from.slice(0, -1), size: FEW };

/** Lists a folder. Where versions are the revisions, a listing does not have them: then yields only keys. */
async function* listFolder(bucket: Bucket, prefix: string, signal?: AbortSignal): AsyncGenerator<Page> {
  const versioned = keepsVersions(bucket, signal);
  versioned.catch(() => {});
  for await (const page of listObjects(bucket, { prefix, delimiter: '/' }, signal)) {
    yield (await versioned) ? { ...page, files: page.files.map(({ key }) => ({ key })) } : page;
  }
}

/**
 * Opens a range of a revision: of the current object if it still has the entity tag, else of the recorded version. Reading a
 * version needs a permission of its own, so it comes second.
 */
async function openObject(
  bucket: Bucket,
  { key, etag, version, exact }: ObjectRef,
  { size: total, ...rest }: Range,
): Promise<Readable> {
  const range = { ...rest, total, ifMatch: etag };
  const openVersion = () => bucket.stream(key, { ...range, query: { versionId: version } });
  try {
    return await (exact ? openVersion() : bucket.stream(key, range));
  } catch (error) {
    const stale = goneIsStale(error, bucket.show(key));
    if (exact || version === undefined || !isError(stale, 'STALE')) throw stale;
    debug('%s was replaced; reading version %s', bucket.show(key), version);
    return openVersion().catch(() => Promise.reject(stale));
  }
}

/** Deletes an object. A bucket that keeps versions only hides it; deleting an exact version is final. */
async function removeObject(
  bucket: Bucket,
  { key, etag, version, exact }: ObjectRef,
  signal?: AbortSignal,
): Promise<void> {
  if (!exact && etag !== undefined) {
    const present = await headObject(bucket, key, {}, signal);
    if (present === undefined) return;
    if (opaque(present.ref.etag) !== opaque(etag))
      throw new SregistryError('STALE', `${bucket.show(key)} has been replaced since it was looked up`);
  }
  await bucket.request('DELETE', key, { query: exact ? { versionId: version } : {}, signal });
}

/** A link that anybody can GET until it expires, or until the temporary access key that signed it does. */
async function presign(
  bucket: Bucket,
  { key, version, exact }: ObjectRef,
  { email, expires = LONGEST_LINK }: ShareOptions,
  signal?: AbortSignal,
): Promise<string> {
  if (email !== undefined)
    throw new SregistryError('UNSUPPORTED', 'S3 cannot share with an email address', {
      hint: 'omit --email and send the link yourself',
    });
  const seconds = Math.ceil(expires);
  if (!(seconds >= 1 && seconds <= LONGEST_LINK))
    throw new SregistryError('USAGE', 'a link of S3 is valid for at most 7 days', {
      hint: 'for instance --expires 7d',
    });
  return bucket.presign(key, exact ? { versionId: version } : {}, seconds, signal);
}
