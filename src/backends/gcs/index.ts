/**
 * Google Cloud Storage. An image is an object of a bucket, its generation the revision. object-keys.ts says what objects are
 * called, metadata.ts what is kept beside them, so that the Python client and this one find each other's images.
 */
import { isError } from '../../base/errors.ts';
import { type Backend, type DriverContext, defineDriver } from '../backend.ts';
import { Bucket } from './bucket.ts';
import { copyImage } from './copy.ts';
import { declaration } from './declaration.ts';
import { readImage, resolveImage } from './images.ts';
import { listCollection, searchImages } from './listing.ts';
import { pushImage } from './push.ts';
import { removeImage } from './remove.ts';
import { shareImage } from './share.ts';

export default defineDriver({ ...declaration, create: (context) => create(context) });

function create(context: DriverContext): Backend {
  const bucket = new Bucket(context);
  return {
    name: context.name,
    driver: declaration.name,
    target: bucket.target,
    // The Python client's: what it pushes as `ubuntu` is `library/ubuntu:latest.sif`.
    defaultCollection: 'library',
    http: bucket.http,

    resolve: (name, signal) => resolveImage(bucket, name, signal),
    read: (image, offset, length, signal) => readImage(bucket, image, { offset, length, signal }),
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

/** A listing of one name: it takes no right that reading images does not. */
async function checkBucket(bucket: Bucket, signal?: AbortSignal): Promise<void> {
  try {
    const query = { maxResults: 1, fields: 'kind' };
    await bucket.request('GET', bucket.path('o'), { query, signal });
  } catch (error) {
    throw isError(error, 'NOT_FOUND') ? bucket.noSuchBucket(error) : error;
  }
}
