/** Builds a backend from a {@link Store} and a {@link Layout}. The backend has the capabilities of the store. */
import type { Backend, RemoteImage, ShareOptions } from '../backend.ts';
import type { HttpClient } from '../http.ts';
import type { Layout } from './layout.ts';
import type { Store } from './store.ts';
import { handleOf, readImage, resolveImage, type StoreContext } from './store-images.ts';
import { listCollection, searchImages } from './store-listing.ts';
import { copyImage, pushImage, removeImage } from './store-push.ts';

export interface StoreIdentity {
  /** Name of the instance. */
  readonly name: string;
  readonly driver: string;
  readonly defaultCollection: string;
  /** The store's current HTTP client. */
  readonly http: () => HttpClient;
}

export function storeBackend(
  store: Store,
  layout: Layout,
  { name, driver, defaultCollection, http }: StoreIdentity,
): Backend {
  const context: StoreContext = { store, layout };
  const { copy, link, check, close } = store;
  return {
    name,
    driver,
    target: store.target,
    defaultCollection,
    get http() {
      return http();
    },

    resolve: (image, signal) => resolveImage(context, image, signal),
    read: (image, offset, length, signal) => readImage(context, image, { offset, length, signal }),
    list: (collection, signal) => listCollection(context, collection, signal),
    isCollectionName: (collection) => layout.prefixOf(collection) !== undefined,
    push: (file, image, options) => pushImage(context, file, image, options),
    search: (query, signal) => searchImages(context, query, signal),
    remove: (image, signal) => removeImage(context, image, signal),
    ...(copy && {
      copy: (from, to, signal) => copyImage(context, copy, from, to, signal),
    }),
    ...(link && {
      share: (image: RemoteImage, options: ShareOptions, signal?: AbortSignal) =>
        link.call(store, handleOf(context, image), options, signal),
    }),
    ...(check && { check: (signal?: AbortSignal) => check.call(store, signal) }),
    ...(close && { close: () => close.call(store) }),
  };
}
