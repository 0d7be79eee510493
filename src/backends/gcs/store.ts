/** A bucket as a store. An object is a file, and its generation the revision. */
import { isError } from '../../base/errors.ts';
import type { Store } from '../kit/store.ts';
import type { Bucket } from './bucket.ts';
import { copyObject } from './copy.ts';
import { insertBytes, insertFile } from './insert.ts';
import { METADATA } from './metadata.ts';
import { getObject, listObjects, type ObjectRef } from './objects.ts';
import { shareObject } from './share.ts';

/** A generation, as versions in names and handles have it. */
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
      try {
        const query = { ifGenerationMatch: generation };
        await bucket.request('DELETE', bucket.objectPath(key), { query, signal });
      } catch (error) {
        if (!isError(error, 'NOT_FOUND')) throw error;
      }
    },

    version: async ([key], generation, signal) =>
      key !== undefined && GENERATION.test(generation)
        ? getObject(bucket, { key, generation }, signal)
        : undefined,

    // A listing of one name: it takes no right that reading images does not.
    check: async (signal) => {
      try {
        const query = { maxResults: 1, fields: 'kind' };
        await bucket.request('GET', bucket.path('o'), { query, signal });
      } catch (error) {
        throw isError(error, 'NOT_FOUND') ? bucket.noSuchBucket(error) : error;
      }
    },
    close: () => bucket.close(),
  };
}
