/**
 * Google Cloud Storage. An image is an object of a bucket, its generation the revision. Names of objects and what is kept beside them
 * are the Python client's, so that both find each other's images.
 */
import { defineDriver } from '../backend.ts';
import { createLayout } from '../kit/layout.ts';
import { storeBackend } from '../kit/store-backend.ts';
import { Bucket } from './bucket.ts';
import { declaration } from './declaration.ts';
import { bucketStore } from './store.ts';

/**
 * Bytes of UTF-8 that an object's name may have, less what a sidecar's adds. The Python client adds the sha256 of what it pushes as a
 * version, so that a tag may have no object of its own: then it stands for the newest of its versions.
 */
const LAYOUT = createLayout({ longest: 1024 - '.json'.length, newestVersion: true });

export default defineDriver({
  ...declaration,
  create(context) {
    const bucket = new Bucket(context);
    return storeBackend(bucketStore(bucket), LAYOUT, {
      name: context.name,
      driver: declaration.name,
      // The Python client's: what it pushes as `ubuntu` is `library/ubuntu:latest.sif`.
      defaultCollection: 'library',
      http: () => bucket.http,
    });
  },
});
