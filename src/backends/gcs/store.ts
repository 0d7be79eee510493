/** A bucket as a store. An object is a file, and its generation the revision. */
import { unlessAbsent } from '../kit/absent.ts';
import type { MetadataLimits } from '../kit/metadata.ts';
import { PYTHON_METADATA } from '../kit/python-metadata.ts';
import type { Store } from '../kit/store.ts';
import type { Bucket } from './bucket.ts';
import { copyObject } from './copy.ts';
import { insertBytes, insertFile } from './insert.ts';
import { askListing, getObject, listObjects, type ObjectRef } from './objects.ts';
import { shareObject } from './share.ts';

/**
 * The metadata by which the Python client finds its images. At most 8 KiB in all ("Quotas and limits", Cloud Storage). Names and
 * values must suit HTTP headers, in which other clients get them.
 */
const METADATA: MetadataLimits = {
  bytes: 8192,
  ...PYTHON_METADATA,
};

/** A generation in the version of a name or in a handle. */
const GENERATION = /^\d{1,19}$/;

export function bucketStore(bucket: Bucket): Store {
  return {
    target: bucket.target,
    metadata: METADATA,
    hashes: ['md5'],
    show: (key) => bucket.show(key),
    stat: (key, signal) => getObject(bucket, { key }, signal),
    list: (prefix, signal) => listObjects(bucket, { prefix, delimiter: '/' }, signal),
    listPrefix: (prefix, _after, signal) => listObjects(bucket, { prefix }, signal),
    open: ({ key, generation }: ObjectRef, { size: total, ...range }) =>
      bucket.stream(bucket.objectPath(key), { alt: 'media', generation }, { ...range, total }),
    put: (key, file, options) => insertFile(bucket, key, file, options),
    getSmall: async (key, signal) => {
      const query = { alt: 'media' };
      return (await bucket.request('GET', bucket.objectPath(key), { query, signal })).bytes;
    },
    putSmall: (key, bytes, signal) => insertBytes(bucket, key, bytes, signal),
    copy: (from, key, options) => copyObject(bucket, from, key, options),
    link: ({ key }, options, signal) => shareObject(bucket, key, options, signal),
    isRef: ({ generation }) => typeof generation === 'string' && GENERATION.test(generation),

    remove: async ({ key, generation }: ObjectRef, signal) => {
      const query = { ifGenerationMatch: generation };
      await unlessAbsent(bucket.request('DELETE', bucket.objectPath(key), { query, signal }));
    },

    version: async ([key], generation, signal) =>
      key !== undefined && GENERATION.test(generation)
        ? getObject(bucket, { key, generation }, signal)
        : undefined,

    // Lists one name, which needs no permission that reading images does not need.
    check: async (signal) => {
      await askListing(bucket, { maxResults: 1, fields: 'kind' }, signal);
    },
    close: () => bucket.close(),
  };
}
