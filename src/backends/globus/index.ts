/**
 * Collections of Globus as a registry: `<collection id>:<path>/<image>:<tag>.sif`. store.ts is the collections as a store, places.ts says
 * what names mean, transfer.ts sends the requests to Globus Transfer, local.ts brings files of collections without HTTPS, login.ts
 * logs in.
 */
import { SregistryError } from '../../base/errors.ts';
import { bot } from '../../log/index.ts';
import { type Backend, defineDriver, type SearchQuery } from '../backend.ts';
import { createLayout } from '../kit/layout.ts';
import { storeBackend } from '../kit/store-backend.ts';
import { searchEveryImage } from '../walk.ts';
import { declaration } from './declaration.ts';
import { logIn, logOut, transferOf } from './login.ts';
import { folderInQuery, isId, withFolder } from './places.ts';
import { globusStore } from './store.ts';
import type { Transfer } from './transfer.ts';

/** The Python client's folder for images is hidden: `<id>:.singularity/shub`. */
const LAYOUT = createLayout({ hiddenFolders: true });

export default defineDriver({
  ...declaration,
  create(context) {
    for (const option of ['endpoint', 'localEndpoint'] as const) {
      const id = context.options[option];
      if (id !== undefined && !isId(id))
        throw new SregistryError(
          'SETTINGS',
          `${context.name}: ${option} is not the id of an endpoint: ${id}`,
          {
            hint: 'the page of the collection at https://app.globus.org shows its UUID',
          },
        );
    }
    const transfer = transferOf(context);
    const backend = storeBackend(globusStore(transfer, context), LAYOUT, {
      name: context.name,
      driver: declaration.name,
      defaultCollection: '',
      http: () => transfer.http,
    });
    const { endpoint } = context.options;
    const { push } = backend;
    return {
      ...backend,
      resolve: (name, signal) => backend.resolve(withFolder(name), signal),
      ...(push && { push: (file, name, options) => push(file, withFolder(name), options) }),
      search: (query, signal) =>
        searchGlobus(backend, endpoint === undefined ? transfer : undefined, query, signal),
    };
  },
  login: logIn,
  logout: logOut,
});

/**
 * Searches the collection that the query begins with, `<id>:<path> <words>`, or that the options name. Without either, shows the
 * endpoints whose description matches, from which a person may choose one, as the Python client does.
 */
async function* searchGlobus(
  backend: Backend,
  transfer: Transfer | undefined,
  { query, labels }: SearchQuery,
  signal?: AbortSignal,
) {
  const { folder, words } = folderInQuery(query) ?? {};
  if (folder === undefined && transfer !== undefined) return await showEndpoints(transfer, query, signal);
  const at = (collection: string) => [folder, collection].filter(Boolean).join('/');
  const list = (collection: string, canceled?: AbortSignal) => backend.list(at(collection), canceled);
  yield* searchEveryImage({ list, resolve: backend.resolve }, { query: words ?? query, labels }, signal);
}

async function showEndpoints(transfer: Transfer, query: string, signal?: AbortSignal): Promise<void> {
  bot.info('Globus: name an endpoint to search, as in: sregistry search globus://<id>:<path>');
  for (const scope of ['my-endpoints', 'shared-with-me', ...(query === '' ? [] : ['all'])])
    for await (const { id, name } of transfer.search(scope, scope === 'all' ? query : undefined, signal))
      bot.info(`${id} [${scope}] ${name}`);
}
