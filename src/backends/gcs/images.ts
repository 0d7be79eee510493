/**
 * From a name to a remote image, and reading it.
 *
 * Mostly the first name of an object that an image may have is the right one. The Python client adds the sha256 of what
 * it pushes as a version, so that a tag may have no object of its own; then it stands for the newest of its versions.
 */
import type { Readable } from 'node:stream';
import { isError, SregistryError } from '../../base/errors.ts';
import type { ImageName } from '../../image/name.ts';
import { splitExtension } from '../../image/names.ts';
import { debugLog } from '../../log/index.ts';
import type { RemoteImage } from '../backend.ts';
import { keysOf, parseKey } from '../object-keys.ts';
import type { Bucket } from './bucket.ts';
import { readMetadata, readSide, sideNameOf } from './metadata.ts';
import { getObject, listObjects, type StoredObject } from './objects.ts';

const debug = debugLog('gcs');

/** What an image's handle holds. */
interface Handle extends Record<string, unknown> {
  readonly object: string;
  readonly generation: string;
  /** Is there a side object? */
  readonly side?: boolean;
}

export async function resolveImage(
  bucket: Bucket,
  name: ImageName,
  signal?: AbortSignal,
): Promise<RemoteImage | undefined> {
  const found = await findObject(bucket, name, signal);
  if (found !== undefined) return toWholeImage(bucket, name, found, signal);
  return name.version === undefined ? undefined : resolveVersion(bucket, name, name.version, signal);
}

/** The object of a name; of a tag without one of its own, the newest of its versions. */
async function findObject(
  bucket: Bucket,
  name: ImageName,
  signal?: AbortSignal,
): Promise<StoredObject | undefined> {
  const own = await findOwnObject(bucket, name, signal);
  if (own.object !== undefined || name.version !== undefined) return own.object;
  return newest(own.versions);
}

/** The first of an image's objects that there is, and what else was seen while looking: versions of the tag. */
export async function findOwnObject(
  bucket: Bucket,
  name: ImageName,
  signal?: AbortSignal,
): Promise<{ readonly object: StoredObject | undefined; readonly versions: readonly StoredObject[] }> {
  const keys = keysOf(name);
  const [first] = keys;
  if (first === undefined) return { object: undefined, versions: [] };
  const object = await getObject(bucket, first, { signal });
  if (object !== undefined) return { object, versions: [] };
  const others = await objectsLike(bucket, name, keys, signal);
  const ranked = others.filter(({ name: key }) => keys.includes(key));
  ranked.sort((one, other) => keys.indexOf(one.name) - keys.indexOf(other.name));
  return { object: ranked[0], versions: others.filter(({ name: key }) => !keys.includes(key)) };
}

/** The objects of a name: those with one of `keys`, and those of the tag's versions where no version is asked for. */
async function objectsLike(
  bucket: Bucket,
  name: ImageName,
  keys: readonly string[],
  signal?: AbortSignal,
): Promise<StoredObject[]> {
  const isLike = (key: string) => {
    if (keys.includes(key)) return true;
    const parsed = parseKey(key)?.name;
    return name.version === undefined && parsed?.image === name.image && parsed.tag === name.tag;
  };
  const stems = keys.map((key) => splitExtension(key).stem);
  try {
    const found = await Promise.all(
      [...new Set(stems)].map(async (stem) => {
        // The names of one image differ behind the tag; without a tag, behind the dot.
        const prefix = stem.includes(':') ? stem : `${stem}.`;
        const pages = await Array.fromAsync(listObjects(bucket, { prefix, delimiter: '/' }, signal));
        return pages.flatMap(({ objects }) => objects.filter((object) => isLike(object.name)));
      }),
    );
    return found.flat();
  } catch (error) {
    if (!isError(error, 'FORBIDDEN', 'UNAUTHORIZED')) throw error;
    // Who may get objects but not list them gets them one by one.
    debug('%s may not be listed: %s', bucket.target, error.message);
    const objects = await Promise.all(keys.slice(1).map((key) => getObject(bucket, key, { signal })));
    return objects.filter((object) => object !== undefined);
  }
}

/** Of the versions of a tag the one that was pushed last. */
export function newest(versions: readonly StoredObject[]): StoredObject | undefined {
  const age = ({ created }: StoredObject) => created?.getTime() ?? 0;
  return versions.reduce<StoredObject | undefined>(
    (best, one) => (best === undefined || age(one) > age(best) ? one : best),
    undefined,
  );
}

/** A version that is in no object's name: the digest or the generation of what the tag stands for, or once stood for. */
async function resolveVersion(
  bucket: Bucket,
  name: ImageName,
  version: string,
  signal?: AbortSignal,
): Promise<RemoteImage | undefined> {
  const current = await findObject(bucket, { ...name, version: undefined }, signal);
  const image = current && (await toWholeImage(bucket, name, current, signal));
  if (image?.revision === version || image?.digest === `sha256:${version.replace(/^sha256:/, '')}`)
    return image;
  const [object] = keysOf({ ...name, version: undefined });
  if (object === undefined || !/^\d{1,19}$/.test(version)) return undefined;
  const earlier = await getObject(bucket, current?.name ?? object, { generation: version, signal });
  return earlier && toWholeImage(bucket, name, earlier, signal);
}

/** The image, with the annotations of its side object. */
export async function toWholeImage(
  bucket: Bucket,
  name: ImageName,
  object: StoredObject,
  signal?: AbortSignal,
): Promise<RemoteImage> {
  const image = toRemoteImage(name, object);
  if (!hasSide(image)) return image;
  const more = await fetchSide(bucket, object.name, image.digest, signal);
  return { ...image, annotations: { ...image.annotations, ...more } };
}

/** The image, as far as its object itself tells. */
export function toRemoteImage(name: ImageName, object: StoredObject): RemoteImage {
  const { digest, annotations, hasSide: side } = readMetadata(object.metadata);
  const handle: Handle = {
    object: object.name,
    generation: object.generation,
    ...(side && { side }),
  };
  const isEncoded = object.encoding !== undefined && object.encoding !== 'identity';
  return {
    name,
    size: object.size,
    modified: object.created,
    digest,
    revision: object.generation,
    annotations,
    extension: splitExtension(object.name).extension,
    ...(isEncoded && { unpresentable: `It is stored in the encoding ${object.encoding}` }),
    handle,
  };
}

export function hasSide(image: RemoteImage): boolean {
  return handleOf(image).side === true;
}

async function fetchSide(
  bucket: Bucket,
  object: string,
  digest: string | undefined,
  signal?: AbortSignal,
): Promise<Readonly<Record<string, string>>> {
  try {
    const path = bucket.objectPath(sideNameOf(object));
    const reply = await bucket.request('GET', path, { query: { alt: 'media' }, signal });
    return readSide(reply.text(), digest);
  } catch (error) {
    if (!isError(error, 'NOT_FOUND', 'FORBIDDEN')) throw error;
    debug('%s: no side object: %s', bucket.show(object), error.message);
    return {};
  }
}

/** A range of exactly that generation; one that is no longer there is the error STALE. */
export async function readImage(
  bucket: Bucket,
  image: RemoteImage,
  { offset, length, signal }: { offset: number; length: number; signal?: AbortSignal | undefined },
): Promise<Readable> {
  const { object, generation } = handleOf(image);
  if (image.unpresentable !== undefined)
    throw new SregistryError('NOT_PRESENTABLE', `${bucket.show(object)}: ${image.unpresentable}`);
  try {
    const query = { alt: 'media', generation };
    return await bucket.stream(bucket.objectPath(object), query, {
      offset,
      length,
      total: image.size,
      signal,
    });
  } catch (error) {
    throw goneIsStale(error, bucket, object);
  }
}

export function goneIsStale(error: unknown, bucket: Bucket, object: string): unknown {
  if (!isError(error, 'NOT_FOUND', 'STALE')) return error;
  return new SregistryError('STALE', `${bucket.show(object)} is no longer the object it was`, {
    hint: 'open it again for the new one',
    cause: error,
  });
}

/** The handle of an image, which may come out of the catalog. */
export function handleOf({ handle }: Pick<RemoteImage, 'handle'>): Handle {
  const { object, generation } = handle;
  if (typeof object !== 'string' || typeof generation !== 'string' || !/^\d+$/.test(generation))
    throw new SregistryError('INTERNAL', 'the handle of a Cloud Storage image is damaged');
  return handle as Handle;
}
