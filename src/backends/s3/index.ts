/**
 * Amazon S3 and what speaks its protocol. An image is an object; ../object-keys.ts says which, metadata.ts what is kept beside it, so that
 * the Python client and this one find each other's images.
 */
import { isError } from '../../base/errors.ts';
import { type Backend, type DriverContext, defineDriver } from '../backend.ts';
import { Bucket } from './bucket.ts';
import { copyImage } from './copy.ts';
import { declaration } from './declaration.ts';
import { readImage, resolveImage } from './images.ts';
import { listCollection } from './listing.ts';
import type { Options } from './place.ts';
import { pushImage } from './push.ts';
import { removeImage } from './remove.ts';
import { searchImages } from './search.ts';
import { shareImage } from './share.ts';

export default defineDriver({ ...declaration, create });

function create({ name: instance, options, env }: DriverContext): Backend {
  const bucket = new Bucket({ instance, options: options as Options, env });
  return {
    name: instance,
    driver: declaration.name,
    target: bucket.place.target,
    // The Python client's: what it pushes as `ubuntu` is `library/ubuntu:latest.sif`.
    defaultCollection: 'library',
    get http() {
      return bucket.http;
    },

    resolve: (name, signal) => resolveImage(bucket, name, signal),
    read: (image, offset, length, signal) => readImage(bucket, image, offset, length, signal),
    list: (collection, signal) => listCollection(bucket, collection, signal),
    push: (file, name, options) => pushImage(bucket, file, name, options),
    search: (query, signal) => searchImages(bucket, query, signal),
    share: (image, options, signal) => shareImage(bucket, image, options, signal),
    copy: (from, to, signal) => copyImage(bucket, from, to, signal),
    remove: (image, signal) => removeImage(bucket, image, signal),
    check: (signal) => checkBucket(bucket, signal),
    close: () => bucket.close(),
  };
}

async function checkBucket(bucket: Bucket, signal?: AbortSignal): Promise<void> {
  try {
    await bucket.request('HEAD', '', { signal });
  } catch (error) {
    throw isError(error, 'NOT_FOUND') ? bucket.noSuchBucket(error) : error;
  }
}
