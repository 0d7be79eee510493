/**
 * A driver to begin with. It is small, and it works as it is: with any web server that takes PUT and DELETE and lists its
 * folders as JSON, such as nginx with `dav_methods PUT DELETE`, `create_full_put_path on` and `autoindex_format json`.
 *
 * The steps are in declaration.ts, service.ts, push.ts, search.ts, pull.ts and share.ts. Replace one after the other by what
 * the service wants, and run the driver's test after each. docs/contributing-a-backend.md goes through them.
 */
import { type Backend, defineDriver } from '../backend.ts';
import { declaration } from './declaration.ts';
import { listCollection, readImage, resolveImage } from './pull.ts';
import { pushImage } from './push.ts';
import { searchImages } from './search.ts';
import { connect } from './service.ts';
import { removeImage, shareImage } from './share.ts';

export default defineDriver({
  ...declaration,
  create(context): Backend {
    const service = connect(context);
    return {
      name: context.name,
      driver: declaration.name,
      target: service.base.href,
      defaultCollection: '',
      http: service.http,

      push: (file, name, options = {}) => pushImage(service, file, name, options),
      search: (query, signal) => searchImages(service, query, signal),
      resolve: (name, signal) => resolveImage(service, name, signal),
      read: (image, offset, length, signal) => readImage(service, image, offset, length, signal),
      list: (collection, signal) => listCollection(service, collection, signal),
      share: shareImage,
      remove: (image, signal) => removeImage(service, image, signal),
      check: async (signal) => {
        await service.http.get(service.base, { signal });
      },
      close: () => service.http.close(),
    };
  },
});
