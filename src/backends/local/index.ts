/**
 * The library of this machine (sregistry.db and the storage folder) as a backend. So pulled and added images can be read, copied and
 * searched like those of any service, whichever backend they came from. The image added last under a name is shown without a
 * version, older ones with theirs.
 */
import { SregistryError } from '../../base/errors.ts';
import type { Container } from '../../catalog/container.ts';
import { labelsOf } from '../../catalog/labels.ts';
import type { Library } from '../../catalog/library.ts';
import { openLibrary } from '../../catalog/open-library.ts';
import { folderOf, type ImageName } from '../../image/name.ts';
import { formatImageName } from '../../image/names.ts';
import { isEnabled } from '../../settings/environment.ts';
import { getPaths } from '../../settings/paths.ts';
import { type Backend, defineDriver, type RemoteImage } from '../backend.ts';
import { openRevision, readFileRange } from '../file-range.ts';
import { hasLabels, nameMatcher } from '../name-match.ts';
import { declaration } from './declaration.ts';
import { libraryNameOf, pathOf, type Shown, shown, toRemote } from './image.ts';

export default defineDriver({
  ...declaration,
  create({ name, env }) {
    const { databaseFile, storage } = getPaths(env);
    const disabled = isEnabled(env, 'SREGISTRY_DISABLE') || isEnabled(env, 'SINGULARITY_DISABLE_CACHE');
    return localBackend(name, storage, openLibrary({ databaseFile, storage, disabled }));
  },
});

const DEFAULT_COLLECTION = 'library';

function localBackend(instance: string, storage: string, library: Library): Backend {
  return {
    name: instance,
    driver: declaration.name,
    target: storage,
    defaultCollection: DEFAULT_COLLECTION,

    async resolve(name) {
      const container = library.get(name);
      return container !== undefined && isIn(folderOfName(name), container)
        ? toRemote(library, { container, name })
        : undefined;
    },

    async read(image, offset, length, signal) {
      return readFileRange({ path: pathOf(image), revision: image.revision, offset, length, signal });
    },

    async *list(collection) {
      const all = shown(library);
      const below = subCollections(all, collection);
      const images = all.filter(({ container }) => isIn(collection, container));
      if (collection !== '' && below.length === 0 && images.length === 0) {
        throw new SregistryError('NOT_FOUND', `There is no collection ${collection} in the library`);
      }
      for (const name of below) yield { kind: 'collection', name };
      for await (const remote of present(library, images)) {
        yield { kind: 'image', name: remote.name, remote };
      }
    },

    localPath: pathOf,

    openLocal: (image) => openRevision({ path: pathOf(image), revision: image.revision }),

    async push(file, name, { annotations, progress, ifAbsent, signal } = {}) {
      const container = await library.add({
        name,
        file: file.path,
        transfer: 'copy',
        client: instance,
        metrics: annotations,
        digest: file.digest,
        ifAbsent,
        progress: (done) => progress?.(done, file.size),
        signal,
      });
      return stored(library, { container, name });
    },

    async *search({ query, labels }) {
      const matches = nameMatcher(query);
      const found = shown(library).filter(
        ({ container, name }) => matches(name) && hasLabels(labelsOf(container.metrics), labels),
      );
      yield* present(library, found);
    },

    async remove(image) {
      const name = libraryNameOf(image);
      if (library.get(name) !== undefined) await library.rm(name);
    },

    async copy(from, name, signal) {
      const original = library.get(libraryNameOf(from));
      const container = await library.add({
        name,
        file: pathOf(from),
        transfer: 'copy',
        client: original?.client ?? instance,
        url: original?.url,
        metrics: original?.metrics,
        digest: from.digest,
        signal,
      });
      return stored(library, { container, name });
    },

    async close() {
      library.close();
    },
  };
}

function folderOfName(name: ImageName): string {
  return folderOf({ ...name, collection: name.collection || DEFAULT_COLLECTION });
}

/** Is the container in this folder? Ignores case, as the library does. */
function isIn(folder: string, { name }: Container): boolean {
  return folderOf(name).toLowerCase() === folder.toLowerCase();
}

/** The next component of every collection below `collection`. */
function subCollections(all: readonly Shown[], collection: string): string[] {
  const prefix = collection === '' ? '' : `${collection}/`;
  const below = all.map(({ name }) => name.collection).filter((folder) => folder.startsWith(prefix));
  return [...new Set(below.map((folder) => folder.slice(prefix.length).split('/')[0] as string))];
}

async function* present(library: Library, images: readonly Shown[]): AsyncGenerator<RemoteImage> {
  for (const image of images) {
    const remote = await toRemote(library, image);
    if (remote !== undefined) yield remote;
  }
}

async function stored(library: Library, image: Shown): Promise<RemoteImage> {
  const remote = await toRemote(library, image);
  if (remote !== undefined) return remote;
  throw new SregistryError('STALE', `${formatImageName(image.name)} was removed while sregistry stored it`);
}
