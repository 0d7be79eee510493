/**
 * Lists entities, their collections, and the tags of their containers. Hinkskalle lists the children of a path. Other libraries give the
 * ids of an entity's collections and of a collection's containers, each of which can be asked for by id.
 */
import pMap from 'p-map';
import { SregistryError } from '../../base/errors.ts';
import { isPathComponent } from '../../image/names.ts';
import { isJsonObject, type JsonObject } from '../../settings/json.ts';
import type { ListEntry } from '../backend.ts';
import { type Api, getData } from './api.ts';
import { archTagsOf } from './images.ts';

/** Children asked for at once. */
const CONCURRENCY = 8;

interface Level {
  readonly path: string;
  /** Path of the children, where the ids of the children are asked for. */
  readonly children: string;
  /** The property with the children's ids. */
  readonly ids: 'collections' | 'containers';
}

/** Can a library have this collection: an entity, or one of its collections? */
export function isCollectionName(collection: string): boolean {
  const parts = collection.split('/').filter(Boolean);
  return parts.length <= 2 && parts.every(isPathComponent);
}

export async function* listCollection(
  api: Api,
  collection: string,
  signal?: AbortSignal,
): AsyncGenerator<ListEntry> {
  if (!isCollectionName(collection)) throw absent(api, collection);
  const parts = collection.split('/').filter(Boolean);
  const seen = new Set<string>();
  for (const child of await childrenOf(api, parts, signal)) {
    for (const entry of parts.length < 2 ? folderOf(child) : imagesOf(collection, child)) {
      const key = entry.kind === 'image' ? `${entry.name.image}:${entry.name.tag}` : entry.name;
      if (!seen.has(key)) yield entry;
      seen.add(key);
    }
  }
}

async function childrenOf(api: Api, parts: readonly string[], signal?: AbortSignal): Promise<JsonObject[]> {
  const [entity, collection] = parts.map(encodeURIComponent);
  if (entity === undefined) return entities(api, signal);
  const level: Level =
    collection === undefined
      ? { path: `v1/entities/${entity}`, children: 'v1/collections', ids: 'collections' }
      : { path: `v1/collections/${entity}/${collection}`, children: 'v1/containers', ids: 'containers' };
  const listed = await getData(api, `${level.children}/${parts.map(encodeURIComponent).join('/')}`, {
    signal,
  });
  if (Array.isArray(listed)) return listed.filter(isJsonObject);
  const parent = await getData(api, level.path, { signal });
  if (!isJsonObject(parent)) throw absent(api, parts.join('/'));
  return childrenById(api, level, parent[level.ids], signal);
}

async function childrenById(api: Api, { path, children, ids }: Level, value: unknown, signal?: AbortSignal) {
  const known = Array.isArray(value) ? value.filter((id) => typeof id === 'string' && id !== '') : [];
  const ask = (id: string) => getData(api, `${children}/${encodeURIComponent(id)}`, { signal });
  const found = await pMap(known, ask, { concurrency: CONCURRENCY, ...(signal && { signal }) });
  if (known.length > 0 && found.every((one) => one === undefined))
    throw new SregistryError('UNSUPPORTED', `${path}: the library does not tell the names of its ${ids}`, {
      hint: 'open an image by its full name. For a Singularity Registry Server, the driver registry lists',
    });
  return found.filter(isJsonObject);
}

async function entities(api: Api, signal?: AbortSignal): Promise<JsonObject[]> {
  const data = await getData(api, 'v1/entities', { signal });
  // Singularity Registry Server answers with the token's user.
  const list = Array.isArray(data) ? data : [data];
  if (isJsonObject(list[0]) || list.length === 0) return list.filter(isJsonObject);
  throw new SregistryError('UNSUPPORTED', `${api.base.host} does not list its entities`, {
    hint: `list one of them, such as library/, or log in with: sregistry auth login ${api.name}`,
  });
}

function* folderOf({ name }: JsonObject): Generator<ListEntry> {
  if (typeof name === 'string' && isPathComponent(name)) yield { kind: 'collection', name };
}

/** The tags of a container. */
export function* imagesOf(collection: string, container: JsonObject): Generator<ListEntry> {
  const { name: image, imageTags } = container;
  if (typeof image !== 'string' || !isName(image)) return;
  const byArch = archTagsOf(container);
  // A container without tags by architecture belongs to an old library.
  const tagLists = Object.keys(byArch).length > 0 ? Object.values(byArch) : [imageTags];
  const tags = new Set(tagLists.flatMap((list) => (isJsonObject(list) ? Object.keys(list) : [])));
  for (const tag of tags)
    if (isName(tag)) yield { kind: 'image', name: { collection, image, tag }, extension: 'sif' };
}

const isName = (text: string) => isPathComponent(text) && !/[:@]/.test(text);

function absent({ base }: Api, collection: string): SregistryError {
  return new SregistryError('NOT_FOUND', `${base.host} has no collection ${collection}`);
}
