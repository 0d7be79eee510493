/**
 * A directory as a registry, for instance on a cluster's shared file system. Any program can publish and read image files there; this
 * driver adds names, digests and atomic replacement. ../kit/layout.ts defines the file names.
 *
 * Removing an image keeps its folders, which may have owners and permissions that somebody set.
 */
import { constants } from 'node:fs';
import { access, unlink } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { isError, SregistryError } from '../../base/errors.ts';
import { fileError, fileRevision } from '../../base/files.ts';
import { folderOf, type ImageName } from '../../image/name.ts';
import { formatImageName } from '../../image/names.ts';
import { debugLog } from '../../log/index.ts';
import { type Backend, defineDriver, type PushOptions, type RemoteImage } from '../backend.ts';
import { openRevision, readFileRange, stale } from '../file-range.ts';
import { foldersOf, newFileName } from '../kit/layout.ts';
import { hasLabels, nameMatcher } from '../name-match.ts';
import { Confinement } from './confine.ts';
import { declaration } from './declaration.ts';
import { Directory, handleOf } from './directory.ts';
import { removeSidecars } from './sidecars.ts';
import { type Source, storeFile } from './store.ts';

const debug = debugLog('dir');

export default defineDriver({
  ...declaration,
  create: ({ name, options }) => dirBackend(name, resolve(options.base)),
});

function exists(path: string): SregistryError {
  return new SregistryError('EXISTS', `${path} already exists`, { hint: 'Push it under another tag' });
}

function dirBackend(instance: string, base: string): Backend {
  const confinement = new Confinement(base);
  const directory = new Directory(confinement);

  /** The path of a found image had no links. O_NOFOLLOW refuses a link that was put there since. */
  const openFound = (path: string) => confinement.open(path, constants.O_NOFOLLOW);

  async function store(source: Source, name: ImageName, options: PushOptions): Promise<RemoteImage> {
    const folders = foldersOf(folderOf(name));
    const file = newFileName(name, source);
    if (folders === undefined || file === undefined) {
      throw new SregistryError('INVALID_NAME', `${formatImageName(name)} cannot be a file in ${base}`, {
        hint: 'No part of the name may be empty or begin with a dot',
      });
    }
    const folder = await confinement.makeFolder(folders);
    const present = await directory.locate(name);
    if (options.ifAbsent && present !== undefined) throw exists(join(base, present.entry));
    await storeFile(source, folder, present === undefined ? file : basename(present.entry), options);
    const image = await directory.resolve(name);
    if (image === undefined) throw stale(join(folder, file));
    return image;
  }

  return {
    name: instance,
    driver: declaration.name,
    target: base,
    defaultCollection: '',

    resolve: (name) => directory.resolve(name),

    async read(image, offset, length, signal) {
      const range = { path: handleOf(image).path, revision: image.revision, offset, length, signal };
      return readFileRange(range, openFound);
    },

    list: (collection) => directory.list(collection),

    isCollectionName: (collection) => foldersOf(collection) !== undefined,

    localPath: (image) => handleOf(image).path,

    openLocal: (image) => openRevision({ path: handleOf(image).path, revision: image.revision }, openFound),

    push: (file, name, options = {}) => store(file, name, options),

    async *search({ query, labels }, signal) {
      const matches = nameMatcher(query);
      for await (const image of everyImage(directory, signal)) {
        if (matches(image.name) && hasLabels(image.annotations, labels)) yield image;
      }
    },

    async remove(image) {
      const { entry } = handleOf(image);
      const folder = await confinement.find(dirname(entry));
      const found = await confinement.find(entry);
      if (folder === undefined || found === undefined) return;
      if (fileRevision(found.stats) !== image.revision) throw stale(join(base, entry));
      const path = join(folder.path, basename(entry));
      try {
        await unlink(path);
        await removeSidecars(path);
      } catch (error) {
        throw fileError('remove', path, error);
      }
    },

    async copy(from, name, signal) {
      const { size, digest, revision, annotations, extension } = from;
      const source = { path: handleOf(from).path, size, digest, revision, extension };
      return store(source, name, { annotations, signal });
    },

    async check() {
      await confinement.assertBase();
      await access(base, constants.R_OK | constants.X_OK).catch((error: unknown) => {
        throw fileError('read', base, error);
      });
    },
  };
}

/** Every image below the base. Visits each folder once, even if several links lead to it. Skips folders without permission. */
async function* everyImage(directory: Directory, signal?: AbortSignal): AsyncGenerator<RemoteImage> {
  const visited = new Set<string>();
  const pending = [''];
  for (let collection = pending.pop(); collection !== undefined; collection = pending.pop()) {
    if (signal?.aborted)
      throw new SregistryError('CANCELED', 'The search was canceled', { cause: signal.reason });
    const listed = await directory.describe(collection).catch((error: unknown) => {
      if (collection === '' || !isError(error, 'FORBIDDEN', 'NOT_FOUND')) throw error;
      debug('skipped %s: %s', collection, error.message);
    });
    if (listed === undefined || visited.has(listed.path)) continue;
    visited.add(listed.path);
    for (const name of listed.collections) pending.push(join(collection, name));
    yield* listed.images;
  }
}
