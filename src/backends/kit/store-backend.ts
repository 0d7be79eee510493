/** A backend made of a {@link Store} and a {@link Layout}: what the store can do, the backend can. */
import type { Backend, RemoteImage, ShareOptions } from '../backend.ts';
import type { Http } from '../http.ts';
import type { Layout } from './layout.ts';
import type { Store } from './store.ts';
import { handleOf, readImage, resolveImage, type Shelf } from './store-images.ts';
import { listCollection, searchImages } from './store-listing.ts';
import { copyImage, pushImage, removeImage } from './store-push.ts';

export interface StoreIdentity {
  /** Name of the instance. */
  readonly name: string;
  readonly driver: string;
  readonly defaultCollection: string;
  /** What the store speaks to its service with, now. */
  readonly http: () => Http;
}

export function storeBackend(
  store: Store,
  layout: Layout,
  { name, driver, defaultCollection, http }: StoreIdentity,
): Backend {
  const shelf: Shelf = { store, layout };
  const { copy, link, check, close } = store;
  return {
    name,
    driver,
    target: store.target,
    defaultCollection,
    get http() {
      return http();
    },

    resolve: (image, signal) => resolveImage(shelf, image, signal),
    read: (image, offset, length, signal) => readImage(shelf, image, { offset, length, signal }),
    list: (collection, signal) => listCollection(shelf, collection, signal),
    push: (file, image, options) => pushImage(shelf, file, image, options),
    search: (query, signal) => searchImages(shelf, query, signal),
    remove: (image, signal) => removeImage(shelf, image, signal),
    ...(copy && {
      copy: (from, to, signal) => copyImage(shelf, copy, from, to, signal),
    }),
    ...(link && {
      share: (image: RemoteImage, options: ShareOptions, signal?: AbortSignal) =>
        link.call(store, handleOf(shelf, image), options, signal),
    }),
    ...(check && { check: (signal?: AbortSignal) => check.call(store, signal) }),
    ...(close && { close: () => close.call(store) }),
  };
}
