/** Search by name: over the catalog where the registry has one, else among the tags of the repository that is named. */
import { isError } from '../../base/errors.ts';
import type { ImageName } from '../../image/name.ts';
import { nameMatcher } from '../name-match.ts';
import { isRepository } from './grammar.ts';
import { allNames } from './listing.ts';
import { placeOf, placeOfImage } from './reference.ts';
import type { Registries } from './registries.ts';

export async function* matchingNames(
  registries: Registries,
  query: string,
  signal?: AbortSignal,
): AsyncGenerator<ImageName> {
  const matches = nameMatcher(query);
  try {
    for await (const name of allNames(registries, hostOf(registries, query), signal))
      if (matches(name)) yield name;
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
  const place = placeOfImage({ collection, image }, registries.base);
  if (!isRepository(place.repository)) return undefined;
  const { catalog, path } = registries.at(place);
  return (await catalog.tags(path, signal))?.map((tag) => ({ collection, image, tag }));
}
