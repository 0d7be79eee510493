/**
 * Putting images into a store: pushed from a file, or copied within it; and removing them.
 *
 * A push reads the file once for its hashes, sends it, and compares what the service says it stored. The sidecar goes first, so that
 * an image never waits for its annotations. There are two exceptions, in which it goes second: an image that must replace nothing,
 * as the sidecar of a push that is refused would take the place of another's; and files without metadata, whose sidecar names the
 * revision that only the push makes.
 */
import { describeError, isError, SregistryError } from '../../base/errors.ts';
import { fileError } from '../../base/files.ts';
import { hashFile } from '../../base/hash.ts';
import type { ImageName } from '../../image/name.ts';
import { formatImageName } from '../../image/names.ts';
import { debugLog } from '../../log/index.ts';
import type { ImageFile, PushOptions, RemoteImage } from '../backend.ts';
import { fileBody } from '../file-body.ts';
import { changedWhilePushed } from './changed.ts';
import { carryMetadata, readMetadata, sidecarOf, writeSidecar } from './metadata.ts';
import { onlyForward } from './progress.ts';
import { goneIsStale } from './stale.ts';
import type { HashedFile, PutOptions, StoredFile, Strings } from './store.ts';
import {
  findFile,
  type Handle,
  handleOf,
  type StoreContext,
  toRemoteImage,
  toWholeImage,
} from './store-images.ts';

const debug = debugLog('store');

/** Where an image goes. */
interface Target {
  readonly key: string;
  /** What is there. */
  readonly present: StoredFile | undefined;
  readonly isTaken: boolean;
}

export async function pushImage(
  context: StoreContext,
  file: ImageFile,
  name: ImageName,
  { annotations = {}, progress, ifAbsent, signal, resume }: PushOptions = {},
): Promise<RemoteImage> {
  firstKeyOf(context, name);
  const source = await hashed(context, file, signal);
  // After the hash, which takes minutes for a large file: not every service decides by itself what may replace nothing.
  const target = await targetOf(context, name, signal);
  if (ifAbsent && target.isTaken)
    throw new SregistryError('EXISTS', `${context.store.target} has ${formatImageName(name)} already`);
  const forward = onlyForward(progress);
  const put = async (metadata: Strings) => {
    const options = { metadata, ifAbsent, progress: forward, signal, resume };
    const stored = await putFile(context, target.key, source, options);
    await verify(context, stored, source, signal);
    return stored;
  };
  const facts = { name, size: file.size, digest: source.digest, annotations };
  const stored = await putWithSidecar(context, target, { ...facts, sidecarLast: ifAbsent, put, signal });
  forward(file.size, file.size);
  return whole(context, name, stored, { digest: source.digest, annotations });
}

/**
 * Puts the file itself. A condition that does not hold is EXISTS, unless the request was sent again after its answer was lost, and
 * finds its own file there.
 */
async function putFile(
  { store }: StoreContext,
  key: string,
  source: HashedFile,
  options: PutOptions,
): Promise<StoredFile> {
  const body = fileBody(source, options.progress);
  let sent = 0;
  const open = () => {
    sent += 1;
    return body();
  };
  try {
    return await store.put(key, { ...source, open }, options);
  } catch (error) {
    const isUnmet = options.ifAbsent && isError(error) && (error.status === 409 || error.status === 412);
    if (!isUnmet) throw error;
    const present = sent > 1 ? await store.stat(key, options.signal) : undefined;
    if (present !== undefined && statedDigest({ store }, present) === source.digest) return present;
    throw new SregistryError('EXISTS', `${store.show(key)} is there already`, { cause: error });
  }
}

/** The digest that a file's own metadata state. */
function statedDigest({ store }: Pick<StoreContext, 'store'>, { metadata }: StoredFile): string | undefined {
  return store.metadata && metadata && readMetadata(store.metadata, metadata).digest;
}

interface Placing {
  readonly name: ImageName;
  readonly size: number;
  readonly digest: string | undefined;
  readonly annotations: Strings;
  readonly sidecarLast?: boolean | undefined;
  /** Puts the file itself there. */
  readonly put: (metadata: Strings) => Promise<StoredFile>;
  readonly signal?: AbortSignal | undefined;
}

/** Puts a file with its sidecar, or removes one that the file no longer needs. */
async function putWithSidecar(
  { store }: StoreContext,
  { key, present }: Target,
  { name, size, digest, annotations, sidecarLast, put, signal }: Placing,
): Promise<StoredFile> {
  const facts = { name, key, size, sha256: digest?.replace(/^sha256:/, '') };
  const { metadata, sidecar } = carryMetadata(store.metadata, facts, annotations);
  const isLast = sidecarLast || store.metadata === undefined;
  const putSidecar = (revision?: string) =>
    store.putSmall(sidecarOf(key), writeSidecar({ digest, annotations }, revision), signal);
  if (sidecar && !isLast) await putSidecar();
  const stored = await put(metadata);
  if (sidecar && isLast) await putSidecar(store.metadata === undefined ? stored.revision : undefined);
  const hadSidecar = present?.metadata && store.metadata && readMetadata(store.metadata, present.metadata);
  if (!sidecar && hadSidecar?.sidecar) await removeSidecar({ store }, key, signal);
  return stored;
}

/** The key of a new image. */
function firstKeyOf({ store, layout }: StoreContext, name: ImageName): string {
  const [first] = layout.keysOf(name);
  if (first !== undefined) return first;
  throw new SregistryError('INVALID_NAME', `${formatImageName(name)} cannot be a file of ${store.target}`, {
    hint: 'No part of the name may be empty or begin with a dot, and all of it is at most 1000 bytes',
  });
}

/** The key to push to: that of the image that is there, else the first it may have. */
async function targetOf(context: StoreContext, name: ImageName, signal?: AbortSignal): Promise<Target> {
  const first = firstKeyOf(context, name);
  try {
    const { file, versions } = await findFile(context, name, signal);
    const isTaken = file !== undefined || versions.length > 0;
    return { key: file?.key ?? first, present: file, isTaken };
  } catch (error) {
    // Who may write but not read will not find out what is there.
    if (!isError(error, 'FORBIDDEN')) throw error;
    return { key: first, present: undefined, isTaken: false };
  }
}

/** What the store and the metadata want to know of the bytes, from reading them once. */
async function hashed({ store }: StoreContext, file: ImageFile, signal?: AbortSignal): Promise<HashedFile> {
  const { path, size } = file;
  const wanted = [...(file.digest === undefined ? (['sha256'] as const) : []), ...(store.hashes ?? [])];
  try {
    const { sha256, md5 } = wanted.length === 0 ? {} : await hashFile(path, wanted, { signal });
    return { path, size, digest: file.digest ?? `sha256:${sha256}`, md5 };
  } catch (error) {
    throw fileError('read', path, error);
  }
}

/** Other bytes than were sent are removed again, unless another push has put them there meanwhile. */
async function verify(
  { store }: StoreContext,
  stored: StoredFile,
  source: HashedFile,
  signal?: AbortSignal,
): Promise<void> {
  const stated = statedDigest({ store }, stored);
  if (stated !== undefined && stated !== source.digest) return;
  const isSame =
    stored.size === source.size &&
    (stored.digest === undefined || stored.digest === source.digest) &&
    (stored.md5 === undefined || source.md5 === undefined || stored.md5 === source.md5);
  if (isSame) return;
  await store.remove(stored.ref, signal);
  throw changedWhilePushed(`${store.show(stored.key)}: stored with other bytes than were sent`);
}

/** A sidecar that stays is ignored: it names the image it belongs to. */
async function removeSidecar({ store }: Pick<StoreContext, 'store'>, key: string, signal?: AbortSignal) {
  try {
    await store.remove({ key: sidecarOf(key) }, signal);
  } catch (error) {
    if (!isError(error) || error.code === 'CANCELED') throw error;
    debug('%s stays: %s', store.show(sidecarOf(key)), describeError(error));
  }
}

/** An image as it was just put there: what the sidecar says is known. */
function whole(
  context: StoreContext,
  name: ImageName,
  stored: StoredFile,
  { digest, annotations }: { digest: string | undefined; annotations: Strings },
): RemoteImage {
  const image = toRemoteImage(context, name, stored);
  // Another push may have put another image there meanwhile.
  const isOurs = image.digest === undefined || image.digest === digest;
  return isOurs ? { ...image, digest, annotations: { ...image.annotations, ...annotations } } : image;
}

export async function copyImage(
  context: StoreContext,
  copy: NonNullable<StoreContext['store']['copy']>,
  from: RemoteImage,
  to: ImageName,
  signal?: AbortSignal,
): Promise<RemoteImage> {
  const { store } = context;
  const { side: _, ...ref } = handleOf(context, from);
  const target = await targetOf(context, to, signal);
  if (target.key === ref.key && target.present?.revision === from.revision) return { ...from, name: to };
  const { digest, annotations = {} } = await described(context, from, signal);
  const put = async (metadata: Strings) => {
    const stored = await copy
      .call(store, ref, target.key, { metadata, size: from.size, signal })
      .catch((error) => {
        throw goneIsStale(error, store.show(ref.key));
      });
    if (stored.size === from.size) return stored;
    throw new SregistryError(
      'CORRUPT',
      `${store.show(stored.key)}: the copy has other bytes than its original`,
    );
  };
  const stored = await putWithSidecar(context, target, {
    name: to,
    size: from.size,
    digest,
    annotations,
    put,
    signal,
  });
  return whole(context, to, stored, { digest, annotations });
}

/** The image with all of its annotations, of which a listing may have told some or none. */
async function described(
  context: StoreContext,
  image: RemoteImage,
  signal?: AbortSignal,
): Promise<RemoteImage> {
  const { key, side } = image.handle as Handle;
  if (image.annotations !== undefined && side !== true) return image;
  const file = await context.store.stat(key, signal);
  if (file?.revision !== image.revision) return image;
  return { ...image, ...(await toWholeImage(context, image.name, file, signal)), handle: image.handle };
}

/** Removes that revision, and no other that somebody has put there meanwhile; then its sidecar. */
export async function removeImage(
  context: StoreContext,
  image: RemoteImage,
  signal?: AbortSignal,
): Promise<void> {
  const { store } = context;
  const { side, ...ref } = handleOf(context, image);
  try {
    await store.remove(ref, signal);
    if (ref.exact || side === false) return;
    const hasSidecar = side ?? (await store.stat(sidecarOf(ref.key), signal)) !== undefined;
    if (hasSidecar) await removeSidecar(context, ref.key, signal);
  } catch (error) {
    throw goneIsStale(error, store.show(ref.key));
  }
}
