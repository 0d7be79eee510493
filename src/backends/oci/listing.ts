/**
 * Presents a registry's flat list of repositories and their tags as folders. The repository `demo/large` appears in the
 * collection `demo` as the image `large`, once for each tag. A repository `demo` appears at the top, beside the collection
 * `demo`.
 */
import { pMapIterable } from 'p-map';
import { isError, SregistryError } from '../../base/errors.ts';
import type { ImageName } from '../../image/name.ts';
import { debugLog } from '../../log/index.ts';
import type { ListEntry } from '../backend.ts';
import { nameMatcher } from '../name-match.ts';
import { DOCKER_HUB, isRepository, repositoryOf, repositoryOfImage } from './reference.ts';
import { type Registries, type Repository, referenceOf } from './registries.ts';

const debug = debugLog('oci');

/** Repositories whose tags are read at once. */
const CONCURRENCY = 8;

/** The entries directly in `collection`: `''`, or, if the instance has no `base`, a path that begins with a host. */
export async function* listCollection(
  registries: Registries,
  collection: string,
  signal?: AbortSignal,
): AsyncGenerator<ListEntry> {
  const top = topOf(registries, collection, signal);
  const below = await repositoriesBelow(top).catch(async (error) => {
    throw isError(error, 'UNSUPPORTED') ? await withTags(error, registries, collection, signal) : error;
  });
  const folders = below.filter((path) => path.includes('/')).map((path) => path.slice(0, path.indexOf('/')));
  for (const name of new Set(folders)) yield { kind: 'collection', name };
  const images = below.filter((path) => !path.includes('/'));
  for await (const name of taggedNames(top, collection, images)) yield { kind: 'image', name };
}

/** Searches by name: in the catalog if the registry has one, else among the tags of the repository that the query names. */
export async function* matchingNames(
  registries: Registries,
  query: string,
  signal?: AbortSignal,
): AsyncGenerator<ImageName> {
  const matches = nameMatcher(query);
  const collection = hostOf(registries, query);
  try {
    const top = topOf(registries, collection, signal);
    for await (const name of taggedNames(top, collection, await repositoriesBelow(top)))
      if (matches(name)) yield name;
  } catch (error) {
    if (!isError(error, 'UNSUPPORTED')) throw error;
    const image = splitPath(query);
    const { catalog, path } = registries.at(repositoryOfImage(image, registries.base), signal);
    const tags = isRepository(path) ? await catalog.tags(path, signal) : undefined;
    if (tags === undefined) throw error;
    for (const tag of tags) yield { ...image, tag };
  }
}

/** The registry that a query begins with, as a collection to list; `''` for the instance's own. */
function hostOf(registries: Registries, query: string): string {
  if (registries.base !== undefined) return '';
  const [first = ''] = query.split('/');
  return repositoryOf(first, undefined)?.repository === '' ? first : '';
}

function splitPath(path: string): Pick<ImageName, 'collection' | 'image'> {
  const slash = path.lastIndexOf('/');
  return { collection: path.slice(0, Math.max(0, slash)), image: path.slice(slash + 1) };
}

function topOf(registries: Registries, collection: string, signal?: AbortSignal): Repository {
  const place = repositoryOf(collection, registries.base);
  if (place !== undefined) return registries.at(place, signal);
  throw new SregistryError('UNSUPPORTED', 'Cannot list all registries. Name one', {
    hint: `begin with a host, such as quay.io/biocontainers; a name without one means ${DOCKER_HUB}, which does not list`,
  });
}

/** Paths of the repositories below `top`, relative to it. Throws NOT_FOUND if it has none. */
async function repositoriesBelow({ host, catalog, path, signal }: Repository): Promise<string[]> {
  const nothing = new SregistryError('NOT_FOUND', `${host} has no repository below ${path}`);
  if (path !== '' && !isRepository(path)) throw nothing;
  const repositories = await catalog.repositories(signal);
  if (path === '') return [...repositories];
  const below = repositories.filter((name) => name.startsWith(`${path}/`));
  if (below.length === 0) throw nothing;
  return below.map((name) => name.slice(path.length + 1));
}

/** If a collection that cannot be listed is an image, the error that names its tags; else `error`. */
async function withTags(
  error: SregistryError,
  registries: Registries,
  collection: string,
  signal?: AbortSignal,
): Promise<SregistryError> {
  const name = splitPath(collection);
  const repository = registries.at(repositoryOfImage(name, registries.base), signal);
  const tags = isRepository(repository.path) ? await visibleTags(repository) : [];
  if (tags.length === 0) return error;
  const shown = tags.length > 10 ? `${tags.slice(-10).join(', ')}, ...` : tags.join(', ');
  return new SregistryError('UNSUPPORTED', error.message, {
    hint: `${collection} is an image; open it as ${name.image}:<tag>, with one of its ${tags.length} tags: ${shown}`,
    cause: error,
  });
}

/** A name for each tag of the repositories `paths`, which are relative to `top`; names call `top` `collection`. */
async function* taggedNames(
  top: Repository,
  collection: string,
  paths: readonly string[],
): AsyncGenerator<ImageName> {
  const pathAt = (path: string) => (top.path === '' ? path : `${top.path}/${path}`);
  const tagsOf = async (path: string) => ({ path, tags: await visibleTags({ ...top, path: pathAt(path) }) });
  for await (const { path, tags } of pMapIterable(paths, tagsOf, { concurrency: CONCURRENCY })) {
    const parts = path.split('/');
    const image = parts.pop() ?? '';
    const folder = [collection, ...parts].filter(Boolean).join('/');
    for (const tag of tags) yield { collection: folder, image, tag };
  }
}

/** The tags of one repository; empty if it is gone or closed to this user, so that the listing goes on. */
async function visibleTags(repository: Repository): Promise<readonly string[]> {
  const { catalog, path, signal } = repository;
  try {
    return (await catalog.tags(path, signal)) ?? [];
  } catch (error) {
    if (!isError(error, 'UNAUTHORIZED', 'FORBIDDEN')) throw error;
    debug('%s is not listed: %s', referenceOf(repository), error.message);
    return [];
  }
}
