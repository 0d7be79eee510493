/**
 * Lists a collection of a store, and searches the store. Listing a collection lists one folder. A search lists everything, a page at a
 * time, and yields matches as they come. If listings carry no metadata, a search for labels requests them image by image.
 */
import { pMapIterable } from 'p-map';
import { SregistryError } from '../../base/errors.ts';
import type { ListEntry, RemoteImage, SearchQuery } from '../backend.ts';
import { hasLabels, nameMatcher } from '../name-match.ts';
import { searchEveryImage } from '../walk.ts';
import { identityOf, isVisible, type KeyParts } from './layout.ts';
import type { ListedFile, Page } from './store.ts';
import {
  asked,
  isTold,
  newest,
  resolveImage,
  type StoreContext,
  toRemoteImage,
  withSidecar,
} from './store-images.ts';

/** A file and the parts of its key. */
interface Candidate extends KeyParts {
  readonly file: ListedFile;
}

/** Images whose metadata are requested at the same time. */
const CONCURRENCY = 8;

export async function* listCollection(
  context: StoreContext,
  collection: string,
  signal?: AbortSignal,
): AsyncGenerator<ListEntry> {
  const { store } = context;
  const prefix = context.layout.prefixOf(collection);
  const images = new Map<string, Candidate>();
  const collections = new Set<string>();
  let isEmpty = !store.hasFolders;
  if (prefix === undefined) throw noCollection(context, collection);
  for await (const { files, folders = [] } of store.list(prefix, signal)) {
    if (files.length + folders.length > 0) isEmpty = false;
    for (const folder of folders) if (isVisible(folder)) collections.add(folder);
    for (const candidate of candidatesOf(context, files)) {
      if (candidate.name.collection !== collection) continue;
      const identity = identityOf(candidate.name);
      const other = images.get(identity);
      if (other === undefined || candidate.rank < other.rank) images.set(identity, candidate);
    }
  }
  if (isEmpty && collection !== '') throw noCollection(context, collection);
  for (const name of collections) yield { kind: 'collection', name };
  const all = [...images.values()];
  for (const { name, extension, file } of context.layout.newestVersion ? withTags(all) : all) {
    const told = isTold(file) ? { remote: toRemoteImage(context, name, file) } : { extension };
    yield { kind: 'image', name, ...told };
  }
}

function candidatesOf({ layout }: StoreContext, files: readonly ListedFile[]): Candidate[] {
  return files.flatMap((file) => {
    const parts = layout.parseKey(file.key);
    return parts === undefined ? [] : [{ ...parts, file }];
  });
}

function noCollection({ store }: StoreContext, collection: string): SregistryError {
  return new SregistryError('NOT_FOUND', `${store.target} has no collection ${collection}`);
}

/** The images, plus one for each tag that has only versions. */
function withTags(images: readonly Candidate[]): Candidate[] {
  const tagOf = ({ name }: Candidate) => identityOf({ ...name, version: undefined });
  const own = new Set(images.filter(({ name }) => name.version === undefined).map(tagOf));
  const versions = Map.groupBy(
    images.filter((image) => !own.has(tagOf(image))),
    tagOf,
  );
  const tags = [...versions.values()].flatMap((group) => {
    const file = newest(group.map((candidate) => candidate.file));
    return group
      .filter((candidate) => candidate.file === file)
      .map((candidate) => ({ ...candidate, name: { ...candidate.name, version: undefined } }));
  });
  return [...tags, ...images];
}

/** The matching images, each once. Walks through a store that cannot list everything at once. */
export function searchImages(
  context: StoreContext,
  query: SearchQuery,
  signal?: AbortSignal,
): AsyncIterable<RemoteImage> {
  const pages = context.store.listPrefix?.('', undefined, signal);
  return pages === undefined ? walk(context, query, signal) : searchPages(context, pages, query, signal);
}

function walk(context: StoreContext, query: SearchQuery, signal?: AbortSignal): AsyncIterable<RemoteImage> {
  const list = async function* (collection: string, canceled?: AbortSignal): AsyncGenerator<ListEntry> {
    for await (const entry of listCollection(context, collection, canceled)) {
      // A search for labels resolves each image, as the listing has no labels.
      yield entry.kind === 'image' && wantsLabels(query) ? { ...entry, remote: undefined } : entry;
    }
  };
  const resolve = (name: RemoteImage['name'], canceled?: AbortSignal) =>
    resolveImage(context, name, canceled);
  return searchEveryImage({ list, resolve }, query, signal);
}

const wantsLabels = ({ labels = {} }: SearchQuery) => Object.keys(labels).length > 0;

async function* searchPages(
  context: StoreContext,
  pages: AsyncIterable<Page>,
  query: SearchQuery,
  signal?: AbortSignal,
): AsyncGenerator<RemoteImage> {
  const describe = async ({ name, file }: Candidate): Promise<RemoteImage | undefined> => {
    if (!wantsLabels(query) && isTold(file)) return toRemoteImage(context, name, file);
    const found = await asked(context, file, signal);
    const image = found && toRemoteImage(context, name, found);
    if (image === undefined || (image.annotations && hasLabels(image.annotations, query.labels)))
      return image;
    const whole = await withSidecar(context, image, signal);
    return hasLabels(whole.annotations, query.labels) ? whole : undefined;
  };
  const matches = matchingFiles(context, pages, query.query);
  for await (const image of pMapIterable(matches, describe, { concurrency: CONCURRENCY })) {
    if (image !== undefined) yield image;
  }
}

/** The first file of each matching image. Files of lower rank wait until the end, as a better one may follow in the listing. */
async function* matchingFiles(
  context: StoreContext,
  pages: AsyncIterable<Page>,
  query: string,
): AsyncGenerator<Candidate> {
  const matches = nameMatcher(query);
  const seen = new Set<string>();
  const waiting = new Map<string, Candidate>();
  for await (const { files } of pages) {
    for (const candidate of candidatesOf(context, files)) {
      if (!matches(candidate.name)) continue;
      const identity = identityOf(candidate.name);
      if (seen.has(identity)) continue;
      if (candidate.rank === 0) {
        seen.add(identity);
        yield candidate;
      } else if (candidate.rank < (waiting.get(identity)?.rank ?? Number.POSITIVE_INFINITY)) {
        waiting.set(identity, candidate);
      }
    }
  }
  for (const [identity, candidate] of waiting) if (!seen.has(identity)) yield candidate;
}
