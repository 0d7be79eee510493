/** Finds images in the directory: one by name, or all of a collection. */
import type { BigIntStats, Dirent } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
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

/** What lies in a folder. */
interface Contents {
  /** Path without symbolic links. */
  readonly path: string;
  /** Sorted. */
  readonly collections: readonly string[];
  /** The file of each image, in the order of their names. */
  readonly images: readonly { readonly name: ImageName; readonly file: string }[];
  /** Names of all entries. */
  readonly files: ReadonlySet<string>;
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

  /** The entries of a collection, sorted by name. Reads only names: examining files would take most of the time. */
  async *list(collection: string): AsyncGenerator<ListEntry> {
    const { path, collections, images } = await this.#read(collection);
    for (const name of collections) yield { kind: 'collection', name };
    for (const { name, file } of images) {
      const { extension } = splitExtension(file);
      const look = () => lookAtFile(name, { entry: join(collection, file), path: join(path, file) });
      yield { kind: 'image', name, extension, look };
    }
  }

  /** The images of a collection as they resolve, the names of its collections, and its path without symbolic links. */
  async describe(
    collection: string,
  ): Promise<Pick<Contents, 'path' | 'collections'> & { images: RemoteImage[] }> {
    const { path, collections, images, files } = await this.#read(collection);
    const there = new Set([...files].map((file) => join(path, file)));
    const described = await pMap(
      images,
      async ({ name, file }) => {
        const [located] = await this.#lookAt(join(collection, file), name);
        if (located === undefined) return [];
        return [await this.#toRemote(located, (side) => there.has(side) || dirname(side) !== path)];
      },
      { concurrency: CONCURRENCY },
    );
    return { path, collections, images: described.flat() };
  }

  async #read(collection: string): Promise<Contents> {
    const folders = foldersOf(collection);
    const folder = folders && (await this.#confinement.find(join(...folders, '.')));
    if (!folder?.stats.isDirectory()) {
      throw new SregistryError('NOT_FOUND', `There is no folder ${collection} in ${this.#confinement.base}`);
    }
    const entries = await entriesIn(folder.path);
    const visible = entries.filter(({ name }) => isVisible(name)).sort(byName);
    const links = await this.#followed(collection, visible);
    const named = (kind: Kind) =>
      visible.filter((entry) => (kindOf(entry) ?? links.get(entry)) === kind).map(({ name }) => name);
    return {
      path: folder.path,
      collections: named('folder'),
      images: await this.#imagesAmong(collection, named('file')),
      files: new Set(entries.map(({ name }) => name)),
    };
  }

  /** What symbolic links lead to, and whatever else the folder does not tell by itself. Skips links to places without permission. */
  async #followed(collection: string, entries: readonly Dirent[]): Promise<Map<Dirent, Kind | undefined>> {
    const unclear = entries.filter((entry) => kindOf(entry) === undefined);
    const follow = async (entry: Dirent) => {
      const found = await this.#confinement.find(join(collection, entry.name)).catch(unlessForbidden);
      return [entry, found && kindOf(found.stats)] as const;
    };
    return new Map(await pMap(unclear, follow, { concurrency: CONCURRENCY }));
  }

  /** The images among the files; if an image has several files, the one written last. */
  async #imagesAmong(collection: string, files: readonly string[]): Promise<Contents['images']> {
    const images = new Map<string, { name: ImageName; file: string }>();
    const several = new Set<string>();
    for (const file of files) {
      const parsed = parseEntry(file);
      if (parsed === undefined) continue;
      const { image, tag, version } = parsed;
      const key = keyOf(parsed);
      if (images.has(key)) several.add(key);
      images.set(key, { name: { collection, image, tag, version }, file });
    }
    for (const key of several) {
      const { name, file } = images.get(key) as { name: ImageName; file: string };
      const located = await this.locate(name);
      images.set(key, { name, file: located === undefined ? file : basename(located.entry) });
    }
    return [...images.values()];
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
    return { ...imageOf(name, { entry, path: found.path }, found.stats), ...sidecars };
  }
}

type Kind = 'folder' | 'file';

function kindOf(entry: Pick<Dirent, 'isDirectory' | 'isFile'>): Kind | undefined {
  if (entry.isDirectory()) return 'folder';
  return entry.isFile() ? 'file' : undefined;
}

const byName = (one: Dirent, other: Dirent) => (one.name < other.name ? -1 : 1);

async function entriesIn(folder: string): Promise<Dirent[]> {
  try {
    return await readdir(folder, { withFileTypes: true });
  } catch (error) {
    throw fileError('list', folder, error);
  }
}

/** The image of a regular file, without its sidecars. Undefined if it is something else by now. */
async function lookAtFile(name: ImageName, handle: Handle): Promise<RemoteImage | undefined> {
  const stats = await lstat(handle.path, { bigint: true }).catch(() => undefined);
  return stats?.isFile() ? imageOf(name, handle, stats) : undefined;
}

function imageOf(name: ImageName, handle: Handle, stats: BigIntStats): RemoteImage {
  return {
    name,
    size: Number(stats.size),
    modified: stats.mtime,
    revision: fileRevision(stats),
    extension: splitExtension(handle.entry).extension,
    handle,
  };
}

function newer(one: Located | undefined, other: Located): Located {
  return one === undefined || other.found.stats.mtimeNs > one.found.stats.mtimeNs ? other : one;
}

function unlessForbidden(error: unknown): undefined {
  if (!isError(error, 'FORBIDDEN')) throw error;
}
