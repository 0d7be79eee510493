/** From a name to a remote image, and reading it. */
import type { Readable } from 'node:stream';
import { isError, SregistryError } from '../../base/errors.ts';
import type { ImageName } from '../../image/name.ts';
import type { RemoteImage } from '../../image/remote.ts';
import { debugLog } from '../../log/index.ts';
import type { Headers } from '../http.ts';
import { type Bucket, goneIsStale } from './bucket.ts';
import { isTooLong, keysOf, parseKey } from './layout.ts';
import { readMetadata, readSide, sideKeyOf } from './metadata.ts';
import { listObjects } from './objects.ts';
import { findVersion } from './versions.ts';

const debug = debugLog('s3');

/** What the driver needs to read an image again. */
export interface Handle extends Record<string, unknown> {
  readonly key: string;
  /** Entity tag of the revision, as the service writes it. */
  readonly etag: string;
  /** Version of the revision, in a bucket that keeps versions. */
  readonly version?: string;
  /** Was it asked for by that version? Otherwise it is what the key stands for at the moment. */
  readonly pinned?: boolean;
  /** Is there a side object? */
  readonly side?: boolean;
}

/** An object as HEAD tells. */
export interface Found {
  readonly key: string;
  readonly headers: Headers;
}

/** Bytes of a side object that are read: annotations are at most 64 KiB before they are escaped. */
const SIDE_MAX = 1024 * 1024;

/** The image of a name, or undefined where the service says that there is none. */
export async function resolveImage(
  bucket: Bucket,
  name: ImageName,
  signal?: AbortSignal,
): Promise<RemoteImage | undefined> {
  const keys = keysOf(name).filter((key) => !isTooLong(key));
  const found = await findObject(bucket, keys, signal);
  if (found !== undefined) return toRemoteImage(bucket, name, found, signal);
  return name.version === undefined ? undefined : resolveVersion(bucket, name, name.version, signal);
}

/** A version that is not in the key: one that the bucket keeps, or the digest of what the tag stands for. */
async function resolveVersion(
  bucket: Bucket,
  name: ImageName,
  version: string,
  signal?: AbortSignal,
): Promise<RemoteImage | undefined> {
  const keys = keysOf({ ...name, version: undefined });
  if (version.startsWith('sha256:')) {
    const found = await findObject(bucket, keys, signal);
    const image = found && (await toRemoteImage(bucket, name, found, signal));
    return image?.digest === version ? image : undefined;
  }
  const kept = await findVersion(bucket, keys, version, signal);
  const found = kept && (await headObject(bucket, kept.key, { versionId: kept.version }, signal));
  if (found === undefined) return undefined;
  const image = await toRemoteImage(bucket, name, found, signal);
  return { ...image, handle: { ...image.handle, pinned: true } };
}

/**
 * The first of `keys` that there is. Mostly that is the first one; where it is not, a listing tells which of the others
 * to ask for.
 */
export async function findObject(
  bucket: Bucket,
  keys: readonly string[],
  signal?: AbortSignal,
): Promise<Found | undefined> {
  const [first, ...others] = keys;
  if (first === undefined) return undefined;
  let refusal: SregistryError | undefined;
  const head = async (key: string) => {
    try {
      return await headObject(bucket, key, {}, signal);
    } catch (error) {
      // To those who may not list, what is absent is forbidden.
      if (!isError(error, 'FORBIDDEN')) throw error;
      refusal ??= error;
      return undefined;
    }
  };
  const found = await head(first);
  if (found !== undefined) return found;
  for (const key of await presentKeys(bucket, others, signal)) {
    const other = await head(key);
    if (other !== undefined) return other;
  }
  if (refusal !== undefined) throw refusal;
  return undefined;
}

/** Those of `keys` that the bucket lists; all where it may not be listed. */
async function presentKeys(
  bucket: Bucket,
  keys: readonly string[],
  signal?: AbortSignal,
): Promise<readonly string[]> {
  const present = new Set<string>();
  // Keys of one image differ in the extension: `a/b:1.` is common to them, and to those of the tag 1.2.
  const stems = new Set(keys.map((key) => key.slice(0, key.lastIndexOf('.') + 1)));
  try {
    for (const stem of stems) {
      const last =
        keys
          .filter((key) => key.startsWith(stem))
          .sort()
          .at(-1) ?? '';
      for await (const { objects } of listObjects(
        bucket,
        { prefix: stem, startAfter: `${stem}im`, size: 20 },
        signal,
      )) {
        for (const { key } of objects) present.add(key);
        if (objects.some(({ key }) => key > last)) break;
      }
    }
  } catch (error) {
    if (!isError(error, 'FORBIDDEN')) throw error;
    debug('%s may not be listed: %s', bucket.place.target, error.message);
    return keys;
  }
  return keys.filter((key) => present.has(key));
}

/** What HEAD tells of an object; undefined where there is none. */
export async function headObject(
  bucket: Bucket,
  key: string,
  query: { readonly versionId?: string | undefined },
  signal?: AbortSignal,
): Promise<Found | undefined> {
  // Amazon tells its own checksums only to those who ask; other services may refuse the header.
  const headers = bucket.place.isAmazon ? { 'x-amz-checksum-mode': 'ENABLED' } : {};
  try {
    const reply = await bucket.request('HEAD', key, { query, headers, signal });
    if (reply.headers.etag !== undefined) return { key, headers: reply.headers };
  } catch (error) {
    if (isError(error, 'NOT_FOUND')) return undefined;
    throw error;
  }
  throw new SregistryError('SERVICE', `${bucket.show(key)}: an answer without an ETag`, {
    hint: 'is it an S3 service?',
  });
}

export async function toRemoteImage(
  bucket: Bucket,
  name: ImageName,
  { key, headers }: Found,
  signal?: AbortSignal,
): Promise<RemoteImage> {
  const size = Number(headers['content-length'] ?? Number.NaN);
  if (!Number.isSafeInteger(size))
    throw new SregistryError('SERVICE', `${bucket.show(key)}: an answer without a size`);
  const { digest, annotations, hasSide } = readMetadata(headers);
  const side = hasSide ? readSide(await fetchSide(bucket, key, signal), digest) : {};
  const etag = headers.etag as string;
  const version = versionOf(headers);
  const handle: Handle = { key, etag, ...(version && { version }), ...(hasSide && { side: true }) };
  return {
    name,
    size,
    modified: dateOf(headers['last-modified']),
    digest,
    revision: version ?? opaque(etag),
    annotations: { ...annotations, ...side },
    extension: parseKey(key)?.extension,
    ...(isArchived(headers) && {
      unpresentable: `it is archived (${headers['x-amz-storage-class']}) and has to be restored first`,
    }),
    handle,
  };
}

/** The side object of a key, as far as it can be read: it never stands between a person and the image. */
async function fetchSide(bucket: Bucket, key: string, signal?: AbortSignal): Promise<string> {
  try {
    const reply = await bucket.request('GET', sideKeyOf(key), { signal });
    return reply.bytes.length > SIDE_MAX ? '' : reply.text();
  } catch (error) {
    if (!isError(error, 'NOT_FOUND', 'FORBIDDEN')) throw error;
    debug('%s has no side object: %s', bucket.show(key), error.message);
    return '';
  }
}

/** The handle of an image, which may come out of the catalog: checked again before it becomes part of an address. */
export function handleOf({ handle }: Pick<RemoteImage, 'handle'>): Handle {
  const { key, etag, version } = handle;
  const isValid =
    typeof key === 'string' &&
    parseKey(key) !== undefined &&
    typeof etag === 'string' &&
    (version === undefined || typeof version === 'string');
  if (!isValid) throw new SregistryError('INTERNAL', 'the handle of an S3 image is damaged');
  return handle as Handle;
}

/**
 * A range of the revision: what the key stands for, if that still has its entity tag; else, where the bucket keeps
 * versions, the version it had. To read a version takes a right of its own, so that comes second.
 */
export async function readImage(
  bucket: Bucket,
  image: RemoteImage,
  offset: number,
  length: number,
  signal?: AbortSignal,
): Promise<Readable> {
  const { key, etag, version, pinned } = handleOf(image);
  const range = { offset, length, total: image.size, ifMatch: etag, signal };
  const readVersion = () => bucket.stream(key, { ...range, query: { versionId: version } });
  try {
    return await (pinned ? readVersion() : bucket.stream(key, range));
  } catch (error) {
    const stale = goneIsStale(error, bucket.show(key));
    if (pinned || version === undefined || !isError(stale, 'STALE')) throw stale;
    debug('%s is another one now; reading version %s', bucket.show(key), version);
    return readVersion().catch(() => Promise.reject(stale));
  }
}

/** The version of an object; undefined in a bucket that keeps none, or did not when it was stored. */
function versionOf(headers: Headers): string | undefined {
  const version = headers['x-amz-version-id'];
  return version === 'null' ? undefined : version;
}

/** An entity tag without its quotes. */
export function opaque(etag: string): string {
  return etag.replace(/^W\//, '').replace(/^"(.*)"$/, '$1');
}

/** Classes whose objects cannot be read until they are restored ("Working with archived objects", Amazon S3 User Guide). */
function isArchived(headers: Headers): boolean {
  const isCold = /^(GLACIER|DEEP_ARCHIVE)$/.test(headers['x-amz-storage-class'] ?? '');
  return isCold && !/ongoing-request="false"/.test(headers['x-amz-restore'] ?? '');
}

function dateOf(text: string | undefined): Date | undefined {
  const date = new Date(text ?? Number.NaN);
  return Number.isNaN(date.getTime()) ? undefined : date;
}
