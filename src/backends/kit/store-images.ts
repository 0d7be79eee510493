/**
 * Resolves a name to a remote image of a store, and reads the image.
 *
 * An image may have several keys, and mostly the first is the right one. If not, a store that lists by prefix finds the others with one
 * request. A store that finds the first existing file of several keys needs no more than that. For any other store, each key takes a
 * request.
 */
import { Readable } from 'node:stream';
import { isError, SregistryError } from '../../base/errors.ts';
import { folderOf, type ImageName } from '../../image/name.ts';
import { splitExtension } from '../../image/names.ts';
import type { RemoteImage } from '../../image/remote.ts';
import { debugLog } from '../../log/index.ts';
import { unlessAbsent } from './absent.ts';
import type { Layout } from './layout.ts';
import { readMetadata, readSidecar, type SidecarOwner, sidecarOf } from './metadata.ts';
import { goneIsStale, unreadableHandle } from './stale.ts';
import type { FileRef, ListedFile, Store, StoredFile } from './store.ts';

const debug = debugLog('store');

/** What the modules of a store's backend share. */
export interface StoreContext {
  readonly store: Store;
  readonly layout: Layout;
}

/** The handle of an image: the reference to its file, and whether there is a sidecar. */
export interface Handle extends FileRef {
  /** Does the image have a sidecar? The hash of its annotations if the file names it. Undefined if unknown, as after some listings. */
  readonly side?: boolean | string;
}

/** The file of a name, and the versions of its tag that the lookup saw. */
export interface Found {
  readonly file: StoredFile | undefined;
  readonly versions: readonly ListedFile[];
}

export async function resolveImage(
  context: StoreContext,
  name: ImageName,
  signal?: AbortSignal,
): Promise<RemoteImage | undefined> {
  const { file, versions } = await findFile(context, name, signal);
  const found = file ?? (await asked(context, newest(versions), signal));
  if (found !== undefined) return toWholeImage(context, name, found, signal);
  return name.version === undefined ? undefined : resolveVersion(context, name, name.version, signal);
}

/** Resolves a version that no key contains: the tag's digest, its revision, or an old version that the store keeps. */
async function resolveVersion(
  context: StoreContext,
  name: ImageName,
  version: string,
  signal?: AbortSignal,
): Promise<RemoteImage | undefined> {
  const tag = { ...name, version: undefined };
  const { file, versions } = await findFile(context, tag, signal);
  const current = file ?? (await asked(context, newest(versions), signal));
  const image = current && (await toWholeImage(context, name, current, signal));
  if (image?.digest === `sha256:${version.replace(/^sha256:/, '')}`) return image;
  const { store, layout } = context;
  if (store.version === undefined) return image?.revision === version ? image : undefined;
  const keys = new Set([...(current ? [current.key] : []), ...layout.keysOf(tag)]);
  const kept = await store.version([...keys], version, signal);
  return kept && toWholeImage(context, name, kept, signal);
}

/** The first existing file of an image. Without permission to list, an absent file may be FORBIDDEN; that is thrown only at the end. */
export async function findFile(context: StoreContext, name: ImageName, signal?: AbortSignal): Promise<Found> {
  const { store, layout } = context;
  const [first, ...others] = layout.keysOf(name);
  if (first === undefined) return { file: undefined, versions: [] };
  let refusal: unknown;
  const permitted = async (asked: Promise<StoredFile | undefined>) => {
    try {
      return await asked;
    } catch (error) {
      if (!isError(error, 'FORBIDDEN')) throw error;
      refusal ??= error;
      return undefined;
    }
  };
  const stat = (key: string) => permitted(store.stat(key, signal));
  const file = await (store.statFirst === undefined
    ? stat(first)
    : permitted(store.statFirst([first, ...others], signal)));
  if (file !== undefined) return { file, versions: [] };
  const listed = await listOthers(context, name, [first, ...others], signal);
  const versions = listed.filter(({ key }) => key !== first && !others.includes(key));
  const present = others.flatMap((key) => listed.filter((one) => one.key === key));
  const files = await Promise.all(present.map((one) => (isWhole(store, one) ? one : stat(one.key))));
  const found = files.find((one) => one !== undefined);
  if (found === undefined && versions.length === 0 && refusal !== undefined) throw refusal;
  return { file: found, versions };
}

/**
 * Lists the files of an image, and the versions of its tag if the layout lets them stand for the tag. If listing is forbidden,
 * returns every key as a candidate.
 */
async function listOthers(
  { store, layout }: StoreContext,
  name: ImageName,
  keys: readonly string[],
  signal?: AbortSignal,
): Promise<readonly ListedFile[]> {
  const all = store.statFirst === undefined ? keys.map((key) => ({ key })) : [];
  const wantsVersions = layout.newestVersion && name.version === undefined;
  const isVersion = (key: string) => {
    const other = wantsVersions ? layout.parseKey(key)?.name : undefined;
    return other?.collection === folderOf(name) && isTagOf(other, name);
  };
  const found: ListedFile[] = [];
  if (store.listPrefix === undefined) {
    if (!wantsVersions) return all;
    const listed = await unlessAbsent(filesIn(store, layout.prefixOf(folderOf(name)) ?? '', signal));
    return [...all, ...(listed ?? []).filter(({ key }) => isVersion(key))];
  }
  // The keys of one image differ after the tag: all begin with `a/b:1.`, and its versions begin with `a/b:1` too.
  const stems = Map.groupBy(keys, (key) => splitExtension(key).stem);
  try {
    for (const [stem, group] of stems) {
      const prefix = wantsVersions && stem.includes(':') ? stem : `${stem}.`;
      const ordered = [...group].sort();
      for await (const { files } of store.listPrefix(
        prefix,
        wantsVersions ? undefined : ordered[0],
        signal,
      )) {
        found.push(...files.filter(({ key }) => group.includes(key) || isVersion(key)));
        // The keys of the tag 1.2, possibly many, begin with `a/b:1.` too.
        if (!wantsVersions && files.some(({ key }) => key > (ordered.at(-1) ?? ''))) break;
      }
    }
    return found;
  } catch (error) {
    if (!isError(error, 'FORBIDDEN', 'UNAUTHORIZED')) throw error;
    debug('no permission to list %s: %s', store.target, error.message);
    return all;
  }
}

/** All files directly in a folder. */
async function filesIn(store: Store, folder: string, signal?: AbortSignal): Promise<ListedFile[]> {
  const found: ListedFile[] = [];
  for await (const { files } of store.list(folder, signal)) found.push(...files);
  return found;
}

const isTagOf = (other: ImageName | undefined, { image, tag }: ImageName) =>
  other?.image === image && other.tag === tag && other.version !== undefined;

/** The version of a tag that was pushed last. */
export function newest<T extends ListedFile>(versions: readonly T[]): T | undefined {
  const age = ({ modified }: T) => modified?.getTime() ?? 0;
  return versions.reduce<T | undefined>(
    (best, one) => (best === undefined || age(one) > age(best) ? one : best),
    undefined,
  );
}

/** Does the listed file have everything that `stat` would return? */
function isWhole(store: Store, file: ListedFile): file is StoredFile {
  return isTold(file) && (store.metadata === undefined || file.metadata !== undefined);
}

/** Does the listed file have a revision, so that it can be read? */
export function isTold(file: ListedFile): file is StoredFile {
  return file.size !== undefined && file.revision !== undefined && file.ref !== undefined;
}

/** The complete file; calls `stat` if the listing did not return everything. */
export async function asked(
  { store }: StoreContext,
  file: ListedFile | undefined,
  signal?: AbortSignal,
): Promise<StoredFile | undefined> {
  if (file === undefined || isWhole(store, file)) return file;
  return store.stat(file.key, signal);
}

/** The image, from its file alone, without the sidecar. */
export function toRemoteImage(
  { store, layout }: StoreContext,
  name: ImageName,
  file: StoredFile,
): RemoteImage {
  const { key, size, modified, revision, ref, metadata, unpresentable } = file;
  const read = store.metadata && metadata && readMetadata(store.metadata, metadata);
  const digest = file.digest ?? read?.digest;
  // Other clients may replace the bytes of a file and leave its metadata, which then name the digest of earlier bytes.
  const isOutdated = read?.digest !== undefined && read.digest !== digest;
  const told = isOutdated ? { annotations: {}, sidecar: false } : read;
  const side = told?.sidecar;
  const handle: Handle = { ...ref, ...(side !== undefined && { side }) };
  return {
    name,
    size,
    modified,
    digest,
    revision,
    ...(told && { annotations: told.annotations }),
    extension: layout.parseKey(key)?.extension,
    ...(unpresentable !== undefined && { unpresentable }),
    handle,
  };
}

/** The image, including the metadata in its sidecar. */
export async function toWholeImage(
  context: StoreContext,
  name: ImageName,
  file: StoredFile,
  signal?: AbortSignal,
): Promise<RemoteImage> {
  return withSidecar(context, toRemoteImage(context, name, file), signal);
}

/** Adds the sidecar's metadata to an image. If the sidecar is missing, the image keeps the annotations of its file. */
export async function withSidecar(
  { store }: StoreContext,
  image: RemoteImage,
  signal?: AbortSignal,
): Promise<RemoteImage> {
  const { key, side } = image.handle as Handle;
  if (side === false || (side === undefined && store.metadata !== undefined)) return image;
  try {
    const { digest, annotations } = readSidecar(await store.getSmall(sidecarOf(key), signal), ownerOf(image));
    return { ...image, digest, annotations: { ...image.annotations, ...annotations } };
  } catch (error) {
    if (!isError(error, 'NOT_FOUND', 'FORBIDDEN')) throw error;
    debug('%s has no sidecar: %s', store.show(key), error.message);
    return { ...image, annotations: image.annotations ?? {} };
  }
}

/** The image, as its sidecar names it. */
export function ownerOf({ digest, revision, handle: { side } }: RemoteImage): SidecarOwner {
  return { digest, revision, hash: typeof side === 'string' ? side : undefined };
}

/**
 * The handle of an image, checked before it becomes part of a request, because it may come from the catalog. Throws STALE if it
 * cannot be read.
 */
export function handleOf({ store, layout }: StoreContext, { handle }: Pick<RemoteImage, 'handle'>): Handle {
  const isValid =
    typeof handle.key === 'string' &&
    layout.parseKey(handle.key) !== undefined &&
    (store.isRef?.(handle) ?? true);
  if (!isValid) throw unreadableHandle(store.target);
  return handle as Handle;
}

/** A stream of a range of this revision. Throws STALE if the revision changed. */
export async function readImage(
  context: StoreContext,
  image: RemoteImage,
  range: { readonly offset: number; readonly length: number; readonly signal?: AbortSignal | undefined },
): Promise<Readable> {
  const { store } = context;
  const ref = handleOf(context, image);
  if (image.unpresentable !== undefined)
    throw new SregistryError('NOT_PRESENTABLE', `${store.show(ref.key)}: ${image.unpresentable}`);
  if (range.length === 0) return Readable.from([]);
  try {
    return await store.open(ref, { ...range, size: image.size });
  } catch (error) {
    throw goneIsStale(error, store.show(ref.key));
  }
}
