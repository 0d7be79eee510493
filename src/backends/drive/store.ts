/**
 * A folder of Google Drive as a store. The revision is a file's `headRevisionId`, and a read asks for that revision. Google computes
 * the sha256. A push replaces an existing file in place, as Drive would keep two files of one name. What is removed goes to the trash.
 */
import { SregistryError } from '../../base/errors.ts';
import type { MetadataLimits } from '../kit/metadata.ts';
import { PYTHON_METADATA } from '../kit/python-metadata.ts';
import type { CopyOptions, Page, PutOptions, SourceFile, Store, StoredFile, Strings } from '../kit/store.ts';
import type { DriveContext } from './context.ts';
import type { Drive } from './drive.ts';
import { type DriveFile, type DriveRef, isId, isIn, isNamed, newestOf, toStored } from './files.ts';
import { createFinder, folderOf, nameOf } from './finder.ts';
import { createFolders } from './folders.ts';
import { shareFile } from './share.ts';
import { thumbnailHints } from './thumbnail.ts';
import { uploadBytes, uploadFile } from './upload.ts';

/** Bytes of a property's key and value, and properties that all applications see ("Custom file properties"). */
const PROPERTY_BYTES = 124;
const MAX_PROPERTIES = 30;

/** What the Python client writes beside its images and finds them by. */
const METADATA: MetadataLimits = {
  bytes: PROPERTY_BYTES * MAX_PROPERTIES,
  entries: { bytes: PROPERTY_BYTES, max: MAX_PROPERTIES },
  ...PYTHON_METADATA,
};

export function driveStore(drive: Drive, context: DriveContext): Store {
  const { root = 'sregistry', folder, thumbnail, acknowledgeAbuse } = context.options;
  const folders = createFolders(drive, context);
  const finder = createFinder(drive, folders);
  const target = `drive://${folder ?? root}`;
  const show = (key: string) => `${target}/${key}`;
  const abuse = acknowledgeAbuse ? 'true' : undefined;

  const storedAs = (key: string, file: DriveFile): StoredFile => {
    const stored = toStored(key, file);
    if (stored !== undefined) return stored;
    throw new SregistryError('SERVICE', `${show(key)}: Google Drive states no size or revision of the file`);
  };

  const statFirst = async (keys: readonly string[], signal?: AbortSignal) => {
    const found = await finder.locate(keys, signal);
    return found && toStored(found.key, found.file);
  };

  /** The file if it still has this revision; undefined if it is gone. Throws STALE if it was replaced. */
  async function sameFile({ id = '', revision, key }: DriveRef, signal?: AbortSignal) {
    const file = await drive.get(id, signal);
    if (file === undefined || file.content?.revision === revision) return file;
    throw new SregistryError('STALE', `${show(key)} has been replaced since it was looked up`);
  }

  async function trash({ id }: DriveFile, signal?: AbortSignal): Promise<void> {
    await drive.ask('PATCH', `/${id}`, { json: { trashed: true }, idempotent: true, signal });
  }

  /** Creates the folder of a key, and describes a new file in it. */
  async function newFile(key: string, signal?: AbortSignal) {
    const parent = await folders.ensure(folderOf(key), signal);
    return { parent, resource: { name: nameOf(key), parents: [parent] } };
  }

  async function put(key: string, file: SourceFile, options: PutOptions): Promise<StoredFile> {
    const { metadata, ifAbsent, signal } = options;
    const present = (await finder.locate([key], signal))?.file;
    if (present !== undefined && ifAbsent) throw taken(key);
    const content = {
      mimeType: 'application/octet-stream',
      properties: replacing(present?.properties, metadata),
      contentHints: await thumbnailHints(thumbnail),
    };
    const what = show(key);
    if (present !== undefined) {
      const upload = { what, id: present.id, resource: content };
      return storedAs(key, await uploadFile(drive, upload, file, options));
    }
    const { parent, resource } = await newFile(key, signal);
    const made = await uploadFile(drive, { what, resource: { ...resource, ...content } }, file, options);
    if (ifAbsent && !(await isFirst(made, parent, signal))) {
      await trash(made, signal);
      throw taken(key);
    }
    return storedAs(key, made);
  }

  const taken = (key: string) => new SregistryError('EXISTS', `${show(key)} already exists`);

  /** Of several pushes that created a file of this name at the same time, is this the one that counts? */
  async function isFirst({ id, name, created }: DriveFile, parent: string, signal?: AbortSignal) {
    const all = await drive.find(`${isIn(parent)} and ${isNamed([name])}`, signal);
    const isBefore = (other: DriveFile) =>
      other.created < created || (other.created === created && other.id < id);
    return !all.some((other) => other.name === name && other.content !== undefined && isBefore(other));
  }

  /** Drive copies to a new file only. The files that it replaces go to the trash afterwards. */
  async function copy(from: DriveRef, key: string, { metadata, signal }: CopyOptions): Promise<StoredFile> {
    const original = await sameFile(from, signal);
    if (original === undefined) throw new SregistryError('STALE', `${show(from.key)} is gone`);
    const replaced = (await finder.locate([key], signal))?.all ?? [];
    const { resource } = await newFile(key, signal);
    const properties = replacing(original.properties, metadata);
    const json = { ...resource, properties };
    const made = await drive.ask('POST', `/${original.id}/copy`, { json, signal });
    const isSame =
      made.content?.size === original.content?.size && made.content?.md5 === original.content?.md5;
    if (!isSame) {
      await trash(made, signal);
      throw new SregistryError('STALE', `${show(from.key)} was replaced while it was copied`);
    }
    for (const file of replaced) await trash(file, signal);
    return storedAs(key, made);
  }

  async function* list(path: string, signal?: AbortSignal): AsyncGenerator<Page> {
    const children = await finder.children(path, signal);
    const foreign = (await finder.python(signal)).filter(({ name }) => name.startsWith(path));
    if (path !== '' && children === undefined && foreign.length === 0)
      throw new SregistryError('NOT_FOUND', `There is no folder ${show(path)}`);
    const isDeeper = ({ name }: DriveFile) => name.slice(path.length).includes('/');
    const { folders: below = [], files = [] } = Object.groupBy(
      (children ?? []).filter(({ name }) => !name.includes('/')),
      ({ isFolder }) => (isFolder ? 'folders' : 'files'),
    );
    const newest = [...Map.groupBy(files, ({ name }) => name).values()].flatMap((all) => newestOf(all) ?? []);
    const own = newest.flatMap((file) => toStored(path + file.name, file) ?? []);
    const theirs = foreign
      .filter((file) => !isDeeper(file))
      .flatMap((file) => toStored(file.name, file) ?? []);
    const collections = foreign
      .filter(isDeeper)
      .map(({ name }) => name.slice(path.length).split('/')[0] ?? '');
    yield { folders: [...below.map(({ name }) => name), ...collections], files: [...own, ...theirs] };
  }

  return {
    target,
    metadata: METADATA,
    hashes: ['md5'],
    hasFolders: true,
    show,
    stat: (key, signal) => statFirst([key], signal),
    statFirst,
    list,
    put,
    copy,

    open: async (ref: DriveRef, { size: total, ...range }) => {
      const { id, revision, hasRevisions, key } = ref;
      const path = hasRevisions ? `/${id}/revisions/${revision}` : `/${id}`;
      const stream = await drive.stream(path, { acknowledgeAbuse: abuse }, { ...range, total });
      if (hasRevisions) return stream;
      // The service has answered with the newest revision. If that is still this one, it was this one then.
      try {
        const same = await sameFile(ref, range.signal);
        if (same === undefined) throw new SregistryError('STALE', `${show(key)} is gone`);
        return stream;
      } catch (error) {
        stream.destroy();
        throw error;
      }
    },

    getSmall: async (key, signal) => {
      const found = await finder.locate([key], signal);
      if (found === undefined) throw new SregistryError('NOT_FOUND', `There is no file ${show(key)}`);
      return (await drive.request('GET', `/${found.file.id}`, { query: { alt: 'media' }, signal })).bytes;
    },

    putSmall: async (key, bytes, signal) => {
      const id = (await finder.locate([key], signal))?.file.id;
      const resource = id === undefined ? (await newFile(key, signal)).resource : {};
      const upload = { what: show(key), id, resource: { ...resource, mimeType: 'application/json' } };
      await uploadBytes(drive, upload, bytes, signal);
    },

    // All files of the name go: another one of them would take the place of the image.
    remove: async ({ key, id, revision }: DriveRef, signal) => {
      const found = await finder.locate([key], signal);
      const isOther =
        id !== undefined && (found?.file.id !== id || found.file.content?.revision !== revision);
      if (found === undefined) return;
      if (isOther) throw new SregistryError('STALE', `${show(key)} has been replaced since it was looked up`);
      for (const file of found.all) await trash(file, signal);
      finder.forget();
    },

    link: ({ id = '' }: DriveRef, options, signal) => shareFile(drive, id, options, signal),
    isRef: ({ id, revision }) => isId(id) && isId(revision),
    check: async (signal) => {
      await folders.root(signal);
    },
    close: () => drive.http.close(),
  };
}

/** Properties that replace earlier ones; Drive would keep those that the request does not name ("Delete custom file properties"). */
function replacing(before: Strings = {}, after: Strings): Record<string, string | null> {
  const gone = Object.keys(before).map((name) => [name, null] as const);
  return { ...Object.fromEntries(gone), ...after };
}
