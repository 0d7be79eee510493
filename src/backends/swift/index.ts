/**
 * OpenStack Swift, and Ceph with its interface. A collection is a container, an image an object in it, as the Python client has it;
 * deeper collections are in the object's name.
 */
import { defineDriver } from '../backend.ts';
import { createLayout, type Layout } from '../kit/layout.ts';
import { storeBackend } from '../kit/store-backend.ts';
import { Account } from './account.ts';
import { declaration } from './declaration.ts';
import { partsOf } from './objects.ts';
import { accountStore } from './store.ts';

/** Bytes of the name of a container and of an object, less the suffix of a container of segments, and the name of a segment. */
const LONGEST = { container: 256 - '_segments'.length, object: 1024 - 64 };

const ANY = createLayout();

const LAYOUT: Layout = {
  ...ANY,
  keysOf: (name) => ANY.keysOf(name).filter(isObject),
  parseKey: (key) => (isObject(key) ? ANY.parseKey(key) : undefined),
};

/** An object is in a container. */
function isObject(key: string): boolean {
  const { container, object } = partsOf(key);
  return (
    object !== '' &&
    Buffer.byteLength(container) <= LONGEST.container &&
    Buffer.byteLength(object) <= LONGEST.object
  );
}

export default defineDriver({
  ...declaration,
  create(context) {
    const account = new Account(context);
    return storeBackend(accountStore(account), LAYOUT, {
      name: context.name,
      driver: declaration.name,
      // As in the Python client, which pushes `ubuntu` as `library/ubuntu:latest.sif`.
      defaultCollection: 'library',
      http: () => account.http,
    });
  },
});
