/**
 * Amazon S3 and compatible services. An image is an object. Keys, metadata and sidecars are those of the Python client, so that
 * both find each other's images.
 */
import { defineDriver } from '../backend.ts';
import { createLayout } from '../kit/layout.ts';
import { storeBackend } from '../kit/store-backend.ts';
import { Bucket } from './bucket.ts';
import { declaration } from './declaration.ts';
import { bucketStore } from './store.ts';

/** The longest key in bytes of UTF-8, less the suffix of a sidecar. */
const LAYOUT = createLayout({ longest: 1024 - '.json'.length });

export default defineDriver({
  ...declaration,
  create(context) {
    const bucket = new Bucket(context);
    return storeBackend(bucketStore(bucket), LAYOUT, {
      name: context.name,
      driver: declaration.name,
      // As in the Python client, which pushes `ubuntu` as `library/ubuntu:latest.sif`.
      defaultCollection: 'library',
      http: () => bucket.http,
    });
  },
});
