/** Search by name: over the catalog where the registry has one, else among the tags of the repository that is named. */
import { pMapIterable } from 'p-map';
import { isError } from '../../base/errors.ts';
import type { ImageName } from '../../image/name.ts';
import type { RemoteImage, SearchQuery } from '../backend.ts';
import { hasLabels, nameMatcher } from '../name-match.ts';
import { isRepository } from './grammar.ts';
import { resolveImage } from './images.ts';
import { allNames } from './listing.ts';
import { placeOf, placeOfImage } from './reference.ts';
import type { Registries } from './registries.ts';

/** Images looked at once. */
const CONCURRENCY = 8;

/** The images that match; tags that hold no Singularity image are left out. */
export async function* searchImages(
  registries: Registries,
  { query, labels }: SearchQuery,
  signal?: AbortSignal,
): AsyncGenerator<RemoteImage> {
  const resolve = (name: ImageName) => {
    const place = placeOfImage(name, registries.base);
    return resolveImage(registries.of(place.host), place, name, signal);
  };
  const matches = matchingNames(registries, query, signal);
  for await (const image of pMapIterable(matches, resolve, { concurrency: CONCURRENCY })) {
    if (image?.unpresentable === undefined && image && hasLabels(image.annotations, labels)) yield image;
  }
}

async function* matchingNames(
  registries: Registries,
  query: string,
  signal?: AbortSignal,
): AsyncGenerator<ImageName> {
  const host = hostOf(registries, query);
  const matches = nameMatcher(query);
  try {
    for await (const name of allNames(registries, host, signal)) if (matches(name)) yield name;
  } catch (error) {
    if (!isError(error, 'UNSUPPORTED')) throw error;
    const names = await namesOfRepository(registries, query, signal);
    if (names === undefined) throw error;
    yield* names;
  }
}

/** The registry that a query begins with, as the collection to list: `''` for that of the instance. */
function hostOf(registries: Registries, query: string): string {
  if (registries.base !== undefined) return '';
  const [first = ''] = query.split('/');
  return placeOf(first, undefined)?.repository === '' ? first : '';
}

/** All tags of the repository that the query is the path of; undefined where it is none. */
async function namesOfRepository(
  registries: Registries,
  query: string,
  signal?: AbortSignal,
): Promise<ImageName[] | undefined> {
  const collection = query.includes('/') ? query.slice(0, query.lastIndexOf('/')) : '';
  const image = query.slice(query.lastIndexOf('/') + 1);
  const { host, repository } = placeOfImage({ collection, image }, registries.base);
  if (!isRepository(repository)) return undefined;
  const tags = await registries.of(host).catalog.tags(repository, signal);
  return tags?.map((tag) => ({ collection, image, tag }));
}
