/**
 * Finds the files of keys. An image `lab/hello:1.0.sif` is the file `hello:1.0.sif` in the folder `lab`. The Python client puts all its
 * images directly into the root, and their names contain the slashes: `lab/hello:1.0@<sha256>.sif`.
 */
import { SregistryError } from '../../base/errors.ts';
import { unlessAbsent } from '../kit/absent.ts';
import { Renewable } from '../kit/renewable.ts';
import type { Drive } from './drive.ts';
import { type DriveFile, IS_CONTAINER, isIn, isNamed, newestOf } from './files.ts';
import type { Folders } from './folders.ts';

/** Milliseconds for which the list of the Python client's images is used: a search asks for it with each folder. */
const PYTHON_LIFETIME = 10_000;

export interface Located {
  readonly key: string;
  /** The file of the key. */
  readonly file: DriveFile;
  /** All files of this name, which Drive allows. */
  readonly all: readonly DriveFile[];
}

export interface Finder {
  /** The first of these keys that has a file; all are in one folder. */
  locate(keys: readonly string[], signal?: AbortSignal): Promise<Located | undefined>;
  /** All that is in a folder (`''`, `a/`); undefined if there is no such folder. */
  children(folder: string, signal?: AbortSignal): Promise<DriveFile[] | undefined>;
  /** The images of the Python client. Their names are keys. */
  python(signal?: AbortSignal): Promise<DriveFile[]>;
  /** Forgets the images of the Python client, after one was removed. */
  forget(): void;
}

export const folderOf = (key: string) => key.slice(0, key.lastIndexOf('/') + 1);
export const nameOf = (key: string) => key.slice(key.lastIndexOf('/') + 1);

export function createFinder(drive: Drive, folders: Folders): Finder {
  const known = new Renewable<DriveFile[]>({ lifetime: PYTHON_LIFETIME });

  /** What a query finds in a folder. Drive finds nothing in a folder that was removed, so an old id is looked up again then. */
  async function findIn(
    folder: string,
    more: string,
    signal?: AbortSignal,
  ): Promise<DriveFile[] | undefined> {
    const nothing = new SregistryError('NOT_FOUND', `${folder} is empty`);
    const ask = async (id: string, isFresh: boolean) => {
      const files = await drive.find(isIn(id) + more, signal);
      if (files.length === 0 && !isFresh) throw nothing;
      return files;
    };
    const found = folders.using(folder, ask, signal).catch((error) => {
      if (error === nothing) return [];
      throw error;
    });
    return unlessAbsent(found);
  }

  async function named(folder: string, names: readonly string[], signal?: AbortSignal): Promise<DriveFile[]> {
    return (await findIn(folder, ` and ${isNamed(names)}`, signal)) ?? [];
  }

  return {
    locate: async (keys, signal) => {
      const folder = folderOf(keys[0] ?? '');
      const pick = (files: readonly DriveFile[], name: (key: string) => string) =>
        keys.flatMap((key): Located[] => {
          const all = files.filter((file) => file.name === name(key) && file.content !== undefined);
          const file = newestOf(all);
          return file === undefined ? [] : [{ key, file, all }];
        })[0];
      const found = pick(await named(folder, keys.map(nameOf), signal), nameOf);
      if (found !== undefined || folder === '') return found;
      return pick(await named('', keys, signal), (key) => key);
    },
    children: (folder, signal) => findIn(folder, '', signal),
    python: (signal) => {
      const find = async (flight: AbortSignal) => {
        const files = (await findIn('', ` and ${IS_CONTAINER}`, flight)) ?? [];
        return files.filter(({ name, content }) => name.includes('/') && content !== undefined);
      };
      return known.get('', find, signal);
    },
    forget: () => known.forget(),
  };
}
