/**
 * A library: `library://<entity>/<collection>/<container>:<tag>`, the service behind `apptainer pull library://`. images.ts finds
 * images, upload.ts sends them. Images are kept by architecture; a backend sees those of one.
 */
import { SregistryError } from '../../base/errors.ts';
import { type Backend, defineDriver } from '../backend.ts';
import { createLinks } from '../kit/manifest-link.ts';
import { type Api, createApi } from './api.ts';
import { declaration } from './declaration.ts';
import { fetchManifest, resolveImage } from './images.ts';
import { isCollectionName, listCollection } from './listing.ts';
import { pushImage } from './push.ts';
import { removeImage } from './remove.ts';
import { searchImages } from './search.ts';

export default defineDriver({
  ...declaration,
  create(context): Backend {
    const api = createApi(context);
    const { http, base } = api;
    const links = createLinks({
      http,
      host: base.host,
      fetchLink: (path, signal) => fetchManifest(api, path, signal),
    });
    const resolve: Backend['resolve'] = (name, signal) => resolveImage(api, links, name, signal);
    const list: Backend['list'] = (collection, signal) => listCollection(api, collection, signal);
    return {
      name: context.name,
      driver: declaration.name,
      target: base.href.replace(/\/$/, ''),
      arch: api.arch,
      // What `library://alpine` means to Apptainer.
      defaultCollection: 'library/default',
      http,

      resolve,
      list,
      isCollectionName,
      read: (image, offset, length, signal) => links.read(image, { offset, length, signal }),
      push: (file, name, options) => pushImage(api, links, file, name, options),
      search: (query, signal) => searchImages(api, { list, resolve }, query, signal),
      remove: (image, signal) => removeImage(api, image, signal),
      check: (signal) => checkLogin(api, signal),
      close: () => http.close(),
    };
  },
});

/** Singularity Registry Server answers 404 for a wrong token, and has no `version`. */
async function checkLogin({ name, base, http, token }: Api, signal?: AbortSignal): Promise<void> {
  const isAnonymous = (await token()) === undefined;
  const { status } = await http.get(isAnonymous ? 'version' : 'v1/token-status', { allow: [404], signal });
  if (status !== 404) return;
  if (isAnonymous) await http.get('v1/', { signal });
  else
    throw new SregistryError('UNAUTHORIZED', `${base.host} does not accept the token`, {
      hint: `log in with: sregistry auth login ${name}`,
    });
}
