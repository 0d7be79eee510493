/**
 * A folder of Dropbox as a store. A read names the `rev` of a file, which Dropbox keeps after the file is replaced. Names differ in
 * more than the case of letters; the case that a file was created with is shown. Annotations go into sidecars.
 */
import { isError, SregistryError } from '../../base/errors.ts';
import { isJsonObject } from '../../settings/json.ts';
import { unlessAbsent } from '../kit/absent.ts';
import { followPages } from '../kit/pages.ts';
import type { CopyOptions, Page, PutOptions, SourceFile, Store, StoredFile } from '../kit/store.ts';
import type { DropboxApi } from './api.ts';
import { isFailure } from './failure.ts';
import {
  type DropboxFile,
  type DropboxRef,
  type Entry,
  isRev,
  toEntry,
  toFile,
  toListing,
  toStored,
} from './files.ts';
import { shareFile } from './share.ts';
import { commitOf, putFile, type Target } from './upload.ts';

/** Entries on a page: the most that the service gives. */
const PAGE_SIZE = 2000;

export function dropboxStore(api: DropboxApi, root = ''): Store {
  const folders = root.split('/').filter(Boolean);
  /** The root of Dropbox is the empty path, not a slash. */
  const pathOf = (key: string) =>
    [...folders, ...key.split('/')]
      .filter(Boolean)
      .map((part) => `/${part}`)
      .join('');
  const target = `dropbox://${folders.join('/')}`;
  const show = (key: string) => `dropbox:/${pathOf(key)}`;
  const targetOf = (key: string): Target => ({ what: show(key), path: pathOf(key) });

  /** The file at a key; undefined if there is none. A name that Dropbox refuses cannot be there. */
  async function find(key: string, signal?: AbortSignal): Promise<DropboxFile | undefined> {
    const asked = api.ask('files/get_metadata', { path: pathOf(key) }, { idempotent: true, signal });
    try {
      const found = await unlessAbsent(asked);
      return found === undefined ? undefined : toEntry(found).file;
    } catch (error) {
      if (isError(error, 'INVALID_NAME')) return undefined;
      throw error;
    }
  }

  async function stat(key: string, signal?: AbortSignal): Promise<StoredFile | undefined> {
    const file = await find(key, signal);
    return file && toStored(key, file);
  }

  async function* entriesIn(folder: string, signal?: AbortSignal): AsyncGenerator<Entry[]> {
    const path = pathOf(folder);
    yield* followPages<Entry[], string>(show(folder), async (cursor) => {
      const [route, arg] =
        cursor === undefined
          ? ['files/list_folder', { path, limit: PAGE_SIZE }]
          : ['files/list_folder/continue', { cursor }];
      const listing = toListing(await api.ask(route, arg, { idempotent: true, signal }));
      return { page: listing.entries, next: listing.cursor };
    });
  }

  async function* list(folder: string, signal?: AbortSignal): AsyncGenerator<Page> {
    try {
      for await (const entries of entriesIn(folder, signal))
        yield {
          folders: entries.filter(({ kind }) => kind === 'folder').map(({ name }) => name),
          files: entries.flatMap(({ name, file }) =>
            file === undefined ? [] : toStored(folder + name, file),
          ),
        };
    } catch (error) {
      // Nobody has pushed anything yet.
      if (folder === '' && isError(error, 'NOT_FOUND')) return;
      throw error;
    }
  }

  async function put(key: string, file: SourceFile, options: PutOptions): Promise<StoredFile> {
    return toStored(key, await putFile(api, targetOf(key), file, options));
  }

  async function remove({ key, rev }: DropboxRef, signal?: AbortSignal): Promise<void> {
    const arg = { path: pathOf(key), ...(rev !== undefined && { parent_rev: rev }) };
    try {
      await unlessAbsent(api.ask('files/delete_v2', arg, { signal }));
    } catch (error) {
      if (!isError(error, 'EXISTS')) throw error;
      throw new SregistryError('STALE', `${show(key)} has been replaced since it was looked up`, {
        cause: error,
      });
    }
  }

  /** Dropbox copies a path, and to a free one only. What is in the way goes first, and comes back if nothing takes its place. */
  async function copy(from: DropboxRef, key: string, { signal }: CopyOptions): Promise<StoredFile> {
    const original = await find(from.key, signal);
    if (original?.rev !== from.rev)
      throw new SregistryError('STALE', `${show(from.key)} was replaced or removed since it was looked up`);
    const copyNow = async () => {
      const arg = { from_path: pathOf(from.key), to_path: pathOf(key), autorename: false };
      const answer = await api.ask('files/copy_v2', arg, { signal });
      const made = toFile(isJsonObject(answer) ? answer.metadata : undefined);
      if (made.hash === original?.hash) return made;
      await remove({ key, rev: made.rev }, signal);
      throw new SregistryError('STALE', `${show(from.key)} was replaced while it was copied`);
    };
    const made = await copyNow().catch(async (error: unknown) => {
      const present = isFailure(error, /to\/conflict/) ? await find(key, signal) : undefined;
      if (present === undefined) throw error;
      // The same name in another case.
      if (present.id === original?.id) return present;
      await remove({ key, rev: present.rev }, signal);
      return copyNow().catch(async (failure: unknown) => {
        // Another push may have taken the place.
        if ((await find(key)) === undefined)
          await api.ask('files/restore', { path: pathOf(key), rev: present.rev });
        throw failure;
      });
    });
    return toStored(key, made);
  }

  return {
    target,
    hashes: ['blocks'],
    hasFolders: true,
    show,
    stat,
    list,
    put,
    remove,
    copy,
    open: ({ rev, key }: DropboxRef, { size: total, ...range }) =>
      api.stream(rev === undefined ? pathOf(key) : `rev:${rev}`, { ...range, total }),
    getSmall: (key, signal) => api.get(pathOf(key), signal),
    putSmall: async (key, body, signal) => {
      await api.send('files/upload', commitOf(targetOf(key)), { body, idempotent: true, signal });
    },
    link: ({ key }, options, signal) => shareFile(api, targetOf(key), options, signal),
    isRef: ({ rev }) => rev === undefined || isRev(rev),
    check: async (signal) => {
      const asked = api.ask(
        'files/list_folder',
        { path: pathOf(''), limit: 1 },
        { idempotent: true, signal },
      );
      await unlessAbsent(asked);
    },
    close: () => api.http.close(),
  };
}
