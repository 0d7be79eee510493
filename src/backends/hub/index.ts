/**
 * Singularity Hub, read-only. Names are `<collection>/<image>:<tag>` and case-sensitive; `@<version>` names one build. A manifest
 * (manifest.ts) links to the image file in cloud storage, which is read in ranges. api.ts explains what happened to the service.
 */
import { SregistryError } from '../../base/errors.ts';
import { type Backend, type DriverContext, defineDriver, type ListEntry } from '../backend.ts';
import { createLinks } from '../kit/manifest-link.ts';
import { imagesOf } from '../kit/search.ts';
import { ask, createApi, getJson } from './api.ts';
import { type Collections, createCollections } from './collections.ts';
import { declaration } from './declaration.ts';
import { resolveImage } from './images.ts';
import { fetchManifest } from './manifest.ts';
import { matcher } from './search.ts';

export default defineDriver({ ...declaration, create: (context) => createHub(context) });

/** `listTtl`: milliseconds for which the list of all images is cached. */
export function createHub(context: DriverContext, { listTtl }: { listTtl?: number } = {}): Backend {
  const api = createApi(context);
  const links = createLinks({
    http: api.http,
    host: api.base.host,
    fetchLink: (path, signal) => fetchManifest(api, path, signal),
  });
  const collections = createCollections(api, listTtl);
  const resolve: Backend['resolve'] = (name, signal) => ask(resolveImage(api, links, name, signal));
  return {
    name: context.name,
    driver: declaration.name,
    target: api.base.href.replace(/\/$/, ''),
    defaultCollection: 'library',
    http: api.http,

    resolve,
    read: (image, offset, length, signal) => ask(links.read(image, { offset, length, signal })),
    list: (collection, signal) => listCollection(collections, collection, signal),
    search: async function* ({ query, labels }, signal) {
      const names = (await collections.images(signal)).filter(matcher(query));
      yield* imagesOf(names, labels, (name) => resolve(name, signal));
    },
    // A service that refuses to list images still works.
    check: async (signal) => void (await getJson(api, 'collections/', [401, 403, 404, 405, 501], signal)),
    close: () => api.http.close(),
  };
}

async function* listCollection(
  collections: Collections,
  collection: string,
  signal?: AbortSignal,
): AsyncGenerator<ListEntry> {
  const prefix = collection === '' ? '' : `${collection}/`;
  const images = await collections.images(signal);
  const below = images.map((name) => name.collection).filter((other) => other.startsWith(prefix));
  const folders = new Set(below.map((other) => other.slice(prefix.length).split('/')[0] ?? ''));
  const here = images.filter((name) => name.collection === collection);
  if (collection !== '' && folders.size === 0 && here.length === 0)
    throw new SregistryError('NOT_FOUND', `There is no collection ${collection}`);
  for (const name of folders) if (name !== '') yield { kind: 'collection', name };
  for (const name of here) yield { kind: 'image', name };
}
