/**
 * Amazon S3 and what speaks its protocol. An image is an object; its key and what is kept beside it are the Python client's, so that
 * both find each other's images.
 */
import { defineDriver } from '../backend.ts';
import { createLayout } from '../kit/layout.ts';
import { storeBackend } from '../kit/store-backend.ts';
import { Bucket } from './bucket.ts';
import { declaration } from './declaration.ts';
import { bucketStore } from './store.ts';

/** Bytes of UTF-8 that a key may have, less what a sidecar's adds. */
const LAYOUT = createLayout({ longest: 1024 - '.json'.length });

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
