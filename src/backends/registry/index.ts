/**
 * A Singularity Registry Server: `registry://<collection>/<image>:<tag>`. api.ts signs requests, images.ts says how files are read that
 * are sent as a whole only, push.ts and search.ts what the server's answers mean.
 */
import { SregistryError } from '../../base/errors.ts';
import { folderOf, type ImageName } from '../../image/name.ts';
import { formatImageName } from '../../image/names.ts';
import { type Backend, defineDriver, type RemoteImage } from '../backend.ts';
import { type Api, createApi, sendSigned } from './api.ts';
import { declaration } from './declaration.ts';
import { createServer, fetchManifest, readImage, resolveImage, type Server } from './images.ts';
import { isCollectionName, pathOf, splitFolder, subjectOf } from './names.ts';
import { pushImage } from './push.ts';
import { listCollection, searchImages } from './search.ts';

export default defineDriver({
  ...declaration,
  create(context): Backend {
    const api = createApi(context);
    const own = createServer(api);
    const others = new Map<string, Server>();
    /** The server that a folder names, which gets no login of this one. */
    const serverOf = (folder: string): Server => {
      const { host } = splitFolder(folder);
      if (host === undefined || host === api.base.host) return own;
      const { nohttps } = context.options;
      const options = { base: host, nohttps, username: undefined, token: undefined };
      const other = others.get(host) ?? createServer(createApi({ ...context, options }));
      others.set(host, other);
      return other;
    };
    const at = (name: ImageName) => serverOf(folderOf(name));
    return {
      name: context.name,
      driver: declaration.name,
      target: api.root.href.replace(/\/$/, ''),
      defaultCollection: 'library',
      http: api.http,

      resolve: (name, signal) => resolveImage(at(name), name, signal),
      read: (image, offset, length, signal) => readImage(at(image.name), image, { offset, length, signal }),
      list: (collection, signal) => listCollection(serverOf(collection), collection, signal),
      isCollectionName,
      push: (file, name, options) => pushImage(at(name), file, name, options),
      search: (query, signal) => searchImages(own, query, signal),
      remove: (image, signal) => removeImage(at(image.name), image, signal),
      check: (signal) => checkLogin(api, signal),
      close: async () => {
        for (const server of [own, ...others.values()]) {
          server.sizes.close();
          await server.api.http.close();
        }
      },
    };
  },
});

/** The library API of the server tells whether it knows the token. A server without that API is not asked. */
async function checkLogin({ name, base, root, http, login }: Api, signal?: AbortSignal): Promise<void> {
  (await http.get('registry/identity', { signal })).json();
  if (login === undefined) return;
  const ask = async (path: string) => (await http.get(new URL(path, root), { allow: [404], signal })).status;
  if ((await ask('v1/token-status')) !== 404 || (await ask('v1/')) === 404) return;
  throw new SregistryError('UNAUTHORIZED', `${base.host} does not accept the token`, {
    hint: `log in with: sregistry auth login ${name}; ${root.href}token shows the token`,
  });
}

/** Succeeds if the image is gone. STALE if another image has the name. FORBIDDEN if it is frozen. */
async function removeImage(
  { api }: Server,
  { name, revision }: RemoteImage,
  signal?: AbortSignal,
): Promise<void> {
  const subject = subjectOf(name);
  const present = subject && (await fetchManifest(api, subject, signal));
  if (subject === undefined || present === undefined) return;
  if (present.id !== revision)
    throw new SregistryError(
      'STALE',
      `${formatImageName(name)} was replaced since it was looked up, and is not deleted`,
    );
  await sendSigned(api, 'delete', subject, (headers) =>
    api.http.delete(pathOf(subject), { headers, allow: [403, 404], signal }),
  );
}
