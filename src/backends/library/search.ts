/**
 * Search: `GET v1/search?value=<text>` finds entities, collections and containers whose own name contains a text of at least three
 * characters. A query such as `lab/tools/h*:1.0` is searched for by its longest part, and the matches are filtered by the whole query.
 * Without such a part, or on a library without search, everything is listed.
 */
import { isJsonObject, type JsonObject } from '../../settings/json.ts';
import type { Backend, ListEntry, RemoteImage, SearchQuery } from '../backend.ts';
import { searchEveryImage } from '../walk.ts';
import { type Api, getData } from './api.ts';
import { imagesOf } from './listing.ts';

const SHORTEST = 3;

type Listing = Pick<Backend, 'list' | 'resolve'>;

export async function* searchImages(
  api: Api,
  backend: Listing,
  query: SearchQuery,
  signal?: AbortSignal,
): AsyncGenerator<RemoteImage> {
  const value = longestPart(query.query);
  const found =
    value === undefined ? undefined : await getData(api, 'v1/search', { query: { value }, signal });
  const list: Backend['list'] = isJsonObject(found)
    ? (collection, canceled) => (collection === '' ? matches(found) : backend.list(collection, canceled))
    : backend.list;
  const seen = new Set<string>();
  for await (const image of searchEveryImage({ ...backend, list }, query, signal)) {
    const key = JSON.stringify(image.name);
    if (!seen.has(key)) yield image;
    seen.add(key);
  }
}

function longestPart(query: string): string | undefined {
  const parts = query.split(/[/:@*?[\]{}(),!|]+/).sort((one, other) => other.length - one.length);
  return parts[0] !== undefined && parts[0].length >= SHORTEST ? parts[0] : undefined;
}

/** What a search found, as the entries of a listing: folders to list, and images. */
async function* matches({ entity, collection, container }: JsonObject): AsyncGenerator<ListEntry> {
  for (const { name } of objects(entity)) if (typeof name === 'string') yield { kind: 'collection', name };
  for (const { entityName, name } of objects(collection))
    if (entityName && name) yield { kind: 'collection', name: `${entityName}/${name}` };
  for (const one of objects(container))
    if (one.entityName && one.collectionName) yield* imagesOf(`${one.entityName}/${one.collectionName}`, one);
}

const objects = (value: unknown): JsonObject[] => (Array.isArray(value) ? value.filter(isJsonObject) : []);
