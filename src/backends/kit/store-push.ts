/**
 * Pushes images to a store, copies them within it, and removes them.
 *
 * A push reads the file once to hash it, sends it, and verifies what the service says it stored. The sidecar is written first, so that
 * an image is never visible without its annotations; it keeps those of the file that is replaced. It is written last in two cases.
 * With `ifAbsent`, a refused push must not replace the sidecar of the existing image. And if files carry no metadata, the sidecar
 * names the file's revision, which exists only after the push. An image whose push ended before its sidecar was written has the
 * annotations that the file itself carries.
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
import {
  carryMetadata,
  isSidecarOf,
  readMetadata,
  readSidecar,
  type Sidecar,
  type SidecarOptions,
  type SidecarOwner,
  sidecarOf,
  writeSidecar,
} from './metadata.ts';
import { onlyForward } from './progress.ts';
import { goneIsStale } from './stale.ts';
import type { HashedFile, PutOptions, StoredFile, Strings } from './store.ts';
import {
  findFile,
  type Handle,
  handleOf,
  ownerOf,
  type StoreContext,
  toRemoteImage,
  toWholeImage,
} from './store-images.ts';

const debug = debugLog('store');

/** Milliseconds for removing a file that is not what it should be. */
const TIDY_TIMEOUT = 10_000;

/** Where an image goes. */
interface Target {
  readonly key: string;
  /** The existing file. */
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
  // Look after hashing, which takes minutes for a large file: not every service enforces `ifAbsent` itself.
  const target = await targetOf(context, name, signal);
  if (ifAbsent && target.isTaken)
    throw new SregistryError('EXISTS', `${context.store.target} already has ${formatImageName(name)}`);
  const forward = onlyForward(progress);
  const put = async (metadata: Strings) => {
    const options = { metadata, ifAbsent, progress: forward, signal, resume };
    const stored = await putFile(context, target.key, source, options);
    await verify(context, stored, source);
    return stored;
  };
  const facts = { name, size: file.size, digest: source.digest, annotations };
  const stored = await putWithSidecar(context, target, { ...facts, sidecarLast: ifAbsent, put, signal });
  forward(file.size, file.size);
  return whole(context, name, stored, { digest: source.digest, annotations });
}

/**
 * Puts the file itself. Throws EXISTS if the service rejects the `ifAbsent` condition, unless a repeated request found the file that
 * its first attempt had stored.
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
    throw new SregistryError('EXISTS', `${store.show(key)} already exists`, { cause: error });
  }
}

/** The digest in a file's own metadata. */
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

/** Puts a file and its sidecar. Removes an old sidecar that the new file does not need. */
async function putWithSidecar(
  { store }: StoreContext,
  { key, present }: Target,
  { name, size, digest, annotations, sidecarLast, put, signal }: Placing,
): Promise<StoredFile> {
  const facts = { name, key, size, sha256: digest?.replace(/^sha256:/, '') };
  const { metadata, sidecar } = carryMetadata(store.metadata, facts, annotations);
  const isLast = sidecarLast || store.metadata === undefined;
  const putSidecar = (options: SidecarOptions) =>
    store.putSmall(sidecarOf(key), writeSidecar({ digest, annotations }, options), signal);
  const old = present?.metadata && store.metadata && readMetadata(store.metadata, present.metadata);
  const owner =
    present && old?.sidecar
      ? {
          digest: old.digest,
          revision: present.revision,
          hash: typeof old.sidecar === 'string' ? old.sidecar : undefined,
        }
      : undefined;
  if (sidecar && !isLast)
    await putSidecar({ before: owner && (await sidecarOfOwner({ store }, key, owner, signal)) });
  const stored = await put(metadata);
  if (sidecar && isLast) await putSidecar(store.metadata === undefined ? { revision: stored.revision } : {});
  if (!sidecar && owner) await removeSidecar({ store }, key, owner, signal);
  return stored;
}

/** What the sidecar says of the file that is there; undefined if it cannot be read. */
async function sidecarOfOwner(
  { store }: Pick<StoreContext, 'store'>,
  key: string,
  owner: SidecarOwner,
  signal?: AbortSignal,
): Promise<Sidecar | undefined> {
  try {
    return readSidecar(await store.getSmall(sidecarOf(key), signal), owner);
  } catch (error) {
    if (!isError(error, 'NOT_FOUND', 'FORBIDDEN')) throw error;
    return undefined;
  }
}

/** The key of a new image. */
function firstKeyOf({ store, layout }: StoreContext, name: ImageName): string {
  const [first] = layout.keysOf(name);
  if (first !== undefined) return first;
  throw new SregistryError('INVALID_NAME', `${formatImageName(name)} cannot be a file of ${store.target}`, {
    hint: 'No part of the name may be empty or begin with a dot, and the whole name may have at most 1000 bytes',
  });
}

/** The key to push to: the key of the existing image, else the first possible one. */
async function targetOf(context: StoreContext, name: ImageName, signal?: AbortSignal): Promise<Target> {
  const first = firstKeyOf(context, name);
  try {
    const { file, versions } = await findFile(context, name, signal);
    const isTaken = file !== undefined || versions.length > 0;
    return { key: file?.key ?? first, present: file, isTaken };
  } catch (error) {
    // Without permission to read, there is no way to find an existing image.
    if (!isError(error, 'FORBIDDEN')) throw error;
    return { key: first, present: undefined, isTaken: false };
  }
}

/** Reads the file once and computes all hashes that the store and the metadata need. */
async function hashed({ store }: StoreContext, file: ImageFile, signal?: AbortSignal): Promise<HashedFile> {
  const { path, size } = file;
  const wanted = [...(file.digest === undefined ? (['sha256'] as const) : []), ...(store.hashes ?? [])];
  try {
    const { sha256, md5, blocks } = wanted.length === 0 ? {} : await hashFile(path, wanted, { signal });
    return { path, size, digest: file.digest ?? `sha256:${sha256}`, md5, blocks };
  } catch (error) {
    throw fileError('read', path, error);
  }
}

/** Verifies the stored file. If its bytes differ, removes it and throws CORRUPT; `remove` leaves a file of another push alone. */
async function verify({ store }: StoreContext, stored: StoredFile, source: HashedFile): Promise<void> {
  const stated = statedDigest({ store }, stored);
  if (stated !== undefined && stated !== source.digest) return;
  const isSame =
    stored.size === source.size &&
    (stored.digest === undefined || stored.digest === source.digest) &&
    (stored.md5 === undefined || source.md5 === undefined || stored.md5 === source.md5);
  if (isSame) return;
  await discard({ store }, stored);
  throw changedWhilePushed(`${store.show(stored.key)}: the service stored other bytes than were sent`);
}

/** Removes a file that is not what it should be. A failure does not hide why it has to go. */
async function discard({ store }: Pick<StoreContext, 'store'>, { key, ref }: StoredFile): Promise<void> {
  await store.remove(ref, AbortSignal.timeout(TIDY_TIMEOUT)).catch((error: unknown) => {
    debug('could not remove %s: %s', store.show(key), describeError(error));
  });
}

/**
 * Removes the sidecar of an image that is gone, but not one that a push at the same time has written. A failure is harmless: a sidecar
 * names its image, so a leftover one is ignored.
 */
async function removeSidecar(
  { store }: Pick<StoreContext, 'store'>,
  key: string,
  owner: SidecarOwner,
  signal?: AbortSignal,
): Promise<void> {
  try {
    const bytes = await store.getSmall(sidecarOf(key), signal);
    if (isSidecarOf(bytes, owner)) await store.remove({ key: sidecarOf(key) }, signal);
  } catch (error) {
    if (isError(error, 'NOT_FOUND')) return;
    if (!isError(error) || error.code === 'CANCELED') throw error;
    debug('could not remove %s: %s', store.show(sidecarOf(key)), describeError(error));
  }
}

/** The image just pushed or copied; the sidecar's content is known. */
function whole(
  context: StoreContext,
  name: ImageName,
  stored: StoredFile,
  { digest, annotations }: { digest: string | undefined; annotations: Strings },
): RemoteImage {
  const image = toRemoteImage(context, name, stored);
  // Another push may have replaced the image meanwhile.
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
    await discard(context, stored);
    throw new SregistryError(
      'CORRUPT',
      `${store.show(stored.key)}: the copy differs in size from its original`,
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

/** The image with all its annotations; a listing may have returned only some or none. */
async function described(
  context: StoreContext,
  image: RemoteImage,
  signal?: AbortSignal,
): Promise<RemoteImage> {
  const { key, side } = image.handle as Handle;
  if (image.annotations !== undefined && !side) return image;
  const file = await context.store.stat(key, signal);
  if (file?.revision !== image.revision) return image;
  return { ...image, ...(await toWholeImage(context, image.name, file, signal)), handle: image.handle };
}

/** Removes this revision, but not one that has replaced it meanwhile; then removes its sidecar. */
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
    await removeSidecar(context, ref.key, ownerOf(image), signal);
  } catch (error) {
    throw goneIsStale(error, store.show(ref.key));
  }
}
