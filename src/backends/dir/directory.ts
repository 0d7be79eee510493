/** Finds images in the directory: one by name, or all of a collection. */
import { readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import pMap from 'p-map';
import { isError, SregistryError } from '../../base/errors.ts';
import { fileError, fileRevision } from '../../base/files.ts';
import { folderOf, type ImageName } from '../../image/name.ts';
import { splitExtension } from '../../image/names.ts';
import type { ListEntry, RemoteImage } from '../backend.ts';
import { fileNamesOf, foldersOf, isVisible, keyOf, parseEntry } from '../kit/layout.ts';
import type { Confinement, Found } from './confine.ts';
import { readSidecars } from './sidecars.ts';

/** The handle of an image. */
interface Handle extends Record<string, unknown> {
  /** Path of the directory entry, relative to the base. A push replaces it, and a removal removes it. */
  readonly entry: string;
  /** Absolute path of the file, which differs from the entry if that is a symbolic link. */
  readonly path: string;
}

/** An image's file. */
interface Located {
  readonly entry: string;
  readonly name: ImageName;
  readonly found: Found;
}

/** An entry of a folder, and the file or folder it leads to. */
interface Seen {
  readonly file: string;
  readonly found: Found;
}

/** Files examined at the same time. A network file system answers several requests in the time of one. */
const CONCURRENCY = 8;

export function handleOf(image: RemoteImage): Handle {
  return image.handle as Handle;
}

export class Directory {
  readonly #confinement: Confinement;

  constructor(confinement: Confinement) {
    this.#confinement = confinement;
  }

  async resolve(name: ImageName): Promise<RemoteImage | undefined> {
    const located = await this.locate(name);
    return located === undefined ? undefined : this.#toRemote(located);
  }

  /** The file of an image; if it has several with different extensions, the one written last. */
  async locate(name: ImageName): Promise<Located | undefined> {
    const folders = foldersOf(folderOf(name));
    if (folders === undefined) return undefined;
    const entries = fileNamesOf(name).map((file) => join(...folders, file));
    const located = await pMap(entries, (entry) => this.#lookAt(entry, name), { concurrency: CONCURRENCY });
    return located.flat().reduce<Located | undefined>(newer, undefined);
  }

  /** The entries of a collection, sorted by name, and its path without symbolic links. */
  async list(collection: string): Promise<{ readonly path: string; readonly entries: ListEntry[] }> {
    const folders = foldersOf(collection);
    const folder = folders && (await this.#confinement.find(join(...folders, '.')));
    if (!folder?.stats.isDirectory()) {
      throw new SregistryError('NOT_FOUND', `There is no folder ${collection} in ${this.#confinement.base}`);
    }
    const files = await namesIn(folder.path);
    const visible = await this.#lookAtAll(collection, files.filter(isVisible).sort());
    const collections = visible
      .filter(({ found }) => found.stats.isDirectory())
      .map(({ file }): ListEntry => ({ kind: 'collection', name: file }));
    const there = new Set(files.map((file) => join(folder.path, file)));
    const images = await pMap(
      newestOfEach(collection, visible),
      async (located): Promise<ListEntry> => {
        const remote = await this.#toRemote(
          located,
          (path) => there.has(path) || dirname(path) !== folder.path,
        );
        return { kind: 'image', name: remote.name, remote };
      },
      { concurrency: CONCURRENCY },
    );
    return { path: folder.path, entries: [...collections, ...images] };
  }

  /** The file or folder behind each name. Skips links to places without permission. */
  async #lookAtAll(collection: string, files: readonly string[]): Promise<Seen[]> {
    const seen = await pMap(
      files,
      async (file) => {
        const found = await this.#confinement.find(join(collection, file)).catch(unlessForbidden);
        return found === undefined ? [] : [{ file, found }];
      },
      { concurrency: CONCURRENCY },
    );
    return seen.flat();
  }

  async #lookAt(entry: string, name: ImageName): Promise<Located[]> {
    const found = await this.#confinement.find(entry);
    return found?.stats.isFile() ? [{ entry, name, found }] : [];
  }

  async #toRemote(
    { entry, name, found }: Located,
    isThere?: (path: string) => boolean,
  ): Promise<RemoteImage> {
    const sidecars = await readSidecars(this.#confinement, found, isThere);
    const handle: Handle = { entry, path: found.path };
    return {
      name,
      size: Number(found.stats.size),
      modified: found.stats.mtime,
      digest: sidecars.digest,
      revision: fileRevision(found.stats),
      annotations: sidecars.annotations,
      extension: splitExtension(entry).extension,
      handle,
    };
  }
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    throw fileError('list', folder, error);
  }
}

/** The images among the entries; if an image has several files, the one written last. */
function newestOfEach(collection: string, seen: readonly Seen[]): Located[] {
  const images = new Map<string, Located>();
  for (const { file, found } of seen) {
    const parsed = parseEntry(file);
    if (parsed === undefined || !found.stats.isFile()) continue;
    const { image, tag, version } = parsed;
    const located = { entry: join(collection, file), name: { collection, image, tag, version }, found };
    images.set(keyOf(parsed), newer(images.get(keyOf(parsed)), located));
  }
  return [...images.values()];
}

function newer(one: Located | undefined, other: Located): Located {
  return one === undefined || other.found.stats.mtimeNs > one.found.stats.mtimeNs ? other : one;
}

function unlessForbidden(error: unknown): undefined {
  if (!isError(error, 'FORBIDDEN')) throw error;
}
