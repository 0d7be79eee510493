/**
 * A web server with image files as a read-only registry: `https://example.org/containers/hello:1.0.sif`. ../kit/layout.ts defines the
 * file names; place.ts maps collections to folders of the server.
 */
import { LRUCache } from 'lru-cache';
import { SregistryError } from '../../base/errors.ts';
import type { ImageName } from '../../image/name.ts';
import { formatImageName } from '../../image/names.ts';
import { type Backend, defineDriver } from '../backend.ts';
import { createHttpClient } from '../http.ts';
import { locationIn, readFile } from '../http-file.ts';
import { authorization, folderAddress } from '../kit/http-files.ts';
import { searchEveryImage } from '../walk.ts';
import { declaration } from './declaration.ts';
import { resolveImage } from './images.ts';
import { listCollection } from './listing.ts';
import { folderUrl, type PlaceOptions } from './place.ts';

/** Milliseconds for which a redirect is remembered: many lead to URLs that are signed for minutes. */
const REDIRECT_TTL = 60_000;

export default defineDriver({
  ...declaration,
  create({ name: instance, options, env }): Backend {
    const { base: address, nohttps = false } = options;
    const base = address === undefined ? undefined : folderAddress(address);
    const place: PlaceOptions = { base, nohttps };
    const scheme = nohttps ? 'http' : 'https';
    const http = createHttpClient({
      base,
      env,
      headers: authorization(options),
      hints: { UNAUTHORIZED: `log in with \`sregistry auth login ${instance}\`` },
    });
    const redirects = new LRUCache<string, string>({ max: 1000, ttl: REDIRECT_TTL });
    const resolve = (name: ImageName, signal?: AbortSignal) => resolveImage(http, place, name, signal);
    const list = (collection: string, signal?: AbortSignal) =>
      listCollection(http, place, collection, signal);

    return {
      name: instance,
      driver: declaration.name,
      uriScheme: base === undefined ? scheme : undefined,
      target: base?.href ?? `${scheme}://`,
      defaultCollection: '',
      http,
      resolve,
      list,
      isCollectionName: (collection) => folderUrl(collection, place) !== undefined,

      read: async (image, offset, length, signal) =>
        readFile(http, locationIn(image, instance), { offset, length, size: image.size, redirects, signal }),

      async *search({ query, labels = {} }, signal) {
        // A web server stores no labels.
        if (Object.keys(labels).length > 0) return;
        yield* searchEveryImage({ list, resolve }, { query }, signal);
      },

      async share(image, { email, expires }) {
        if (email === undefined && expires === undefined) return locationIn(image, instance).url;
        throw new SregistryError(
          'UNSUPPORTED',
          `${formatImageName(image.name)} has one permanent address for everyone`,
          {
            hint: 'share it without --email and --expires',
          },
        );
      },

      async check(signal) {
        // The server works even if it forbids to list the folder itself.
        if (base !== undefined) await http.head(base, { allow: [403, 404, 405, 501], signal });
      },

      close: () => http.close(),
    };
  },
});
