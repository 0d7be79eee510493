/** Lists a collection from the server's index of its folder. */
import { isError, SregistryError } from '../../base/errors.ts';
import type { ListEntry } from '../backend.ts';
import { type BufferedResponse, type HttpClient, showUrl } from '../http.ts';
import { isVisible, keyOf, parseEntry } from '../kit/layout.ts';
import { type IndexEntry, parseIndex } from './index-page.ts';
import { folderUrl, type PlaceOptions } from './place.ts';

export async function* listCollection(
  http: HttpClient,
  place: PlaceOptions,
  collection: string,
  signal?: AbortSignal,
): AsyncGenerator<ListEntry> {
  const folder = folderUrl(collection, place);
  if (folder === undefined) throw notListed(collection, place);
  const index = parseIndex(await getIndex(http, folder, signal));
  if (index === undefined) throw notIndexed(folder);
  yield* collectionsOf(index);
  yield* imagesOf(index, collection);
}

/** Requests the index of a folder. A server without an index answers 403. */
async function getIndex(http: HttpClient, folder: URL, signal?: AbortSignal): Promise<BufferedResponse> {
  try {
    return await http.get(folder, { headers: { accept: 'application/json, text/html;q=0.9' }, signal });
  } catch (error) {
    throw isError(error, 'FORBIDDEN') ? notIndexed(folder, error) : error;
  }
}

function collectionsOf(index: readonly IndexEntry[]): ListEntry[] {
  return index
    .filter(({ kind, name }) => kind === 'folder' && isVisible(name))
    .map(({ name }) => ({ kind: 'collection', name }));
}

/** One entry per image, even if the image has files with several extensions. */
function imagesOf(index: readonly IndexEntry[], collection: string): ListEntry[] {
  const images = index.flatMap(({ kind, name }) => (kind === 'file' ? (parseEntry(name) ?? []) : []));
  const distinct = new Map(images.map((image) => [keyOf(image), image]));
  return [...distinct.values()].map(({ image, tag, version, extension }) => ({
    kind: 'image',
    name: { collection, image, tag, version },
    extension,
  }));
}

function notIndexed(folder: URL, cause?: unknown): SregistryError {
  return new SregistryError('UNSUPPORTED', `${showUrl(folder)}: the server has no index of this folder`, {
    hint: 'open an image by its full name, which needs no listing',
    cause,
  });
}

function notListed(collection: string, { base }: PlaceOptions): SregistryError {
  if (base !== undefined)
    return new SregistryError('NOT_FOUND', `There is no folder ${collection} in ${base.href}`);
  return new SregistryError('UNSUPPORTED', 'Without the option base, hosts cannot be listed', {
    hint: 'begin the name with a host, or set base to the address of a folder',
  });
}
