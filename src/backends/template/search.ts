/**
 * Step 4, search: the images that match. A service that can search is asked to; for this one, every folder is listed.
 */
import type { RemoteImage, SearchQuery } from '../backend.ts';
import { searchEveryImage } from '../walk.ts';
import { listCollection, resolveImage } from './pull.ts';
import type { Service } from './service.ts';

export function searchImages(
  service: Service,
  query: SearchQuery,
  signal?: AbortSignal,
): AsyncIterable<RemoteImage> {
  return searchEveryImage(
    {
      list: (collection, canceled) => listCollection(service, collection, canceled),
      resolve: (name, canceled) => resolveImage(service, name, canceled),
    },
    query,
    signal,
  );
}
