/**
 * Pushing an image: hashed once, sent with its MD5, which the service compares before it puts the object in its place, and
 * compared again with what it says it stored.
 */
import { Readable } from 'node:stream';
import { isError, SregistryError } from '../../base/errors.ts';
import { fileError } from '../../base/files.ts';
import { hashFile } from '../../base/hash.ts';
import type { ImageName } from '../../image/name.ts';
import { formatImageName } from '../../image/names.ts';
import { debugLog } from '../../log/index.ts';
import type { ImageFile, Progress, PushOptions, RemoteImage } from '../backend.ts';
import { fileBody } from '../file-body.ts';
import { isTooLong, keysOf } from '../object-keys.ts';
import type { Bucket } from './bucket.ts';
import { findOwnObject, toRemoteImage } from './images.ts';
import { insertObject, type NewObject } from './insert.ts';
import { readMetadata, sideNameOf, storeMetadata } from './metadata.ts';
import type { StoredObject } from './objects.ts';
import { removeObject } from './remove.ts';
import { uploadResumably } from './resumable.ts';

const debug = debugLog('gcs');

export async function pushImage(
  bucket: Bucket,
  file: ImageFile,
  name: ImageName,
  options: PushOptions = {},
): Promise<RemoteImage> {
  const { annotations, signal } = options;
  const target = await targetOf(bucket, name, signal);
  const { digest, md5 } = await hashes(file, signal);
  const { metadata, side } = storeMetadata(name, target.object, digest, annotations);
  // First, so that there is never an image whose side object is still to come.
  if (side !== undefined) await putSide(bucket, target.object, side, signal);
  const resource = { ...newObject(bucket, target.object, metadata), md5Hash: md5 };
  const stored = await upload(bucket, resource, file, options).catch((error: unknown) => {
    throw isHashMismatch(error) ? corrupt(file, error) : error;
  });
  await verify(bucket, stored, file, md5, signal);
  if (side === undefined && target.hasSide) await removeSide(bucket, target.object, signal);
  const image = toRemoteImage(name, stored);
  return { ...image, annotations: { ...image.annotations, ...annotations } };
}

/** Bytes up to which one request does: to begin it anew costs little. */
const SMALL = 8 * 1024 * 1024;

async function upload(
  bucket: Bucket,
  object: NewObject,
  file: ImageFile,
  { progress, signal, resume }: PushOptions,
): Promise<StoredObject> {
  const forward = onlyForward(progress);
  const stored =
    file.size <= SMALL
      ? await insertObject(bucket, object, { size: file.size, open: fileBody(file, forward) }, signal)
      : await uploadResumably({ bucket, object, file, progress: forward, signal, resume });
  progress?.(file.size, file.size);
  return stored;
}

/** A part that is sent again does not count back. */
function onlyForward(progress: Progress | undefined): Progress {
  let most = 0;
  return (done, total) => {
    if (done <= most) return;
    most = done;
    progress?.(done, total);
  };
}

/** The object to push to: that of the image that is there, else the one the Python client would give it. */
export async function targetOf(
  bucket: Bucket,
  name: ImageName,
  signal?: AbortSignal,
): Promise<{ readonly object: string; readonly hasSide: boolean }> {
  const [first] = keysOf(name);
  if (first === undefined || isTooLong(first))
    throw new SregistryError('INVALID_NAME', `${formatImageName(name)} cannot be the name of an object`, {
      hint: 'No part of the name may be empty or begin with a dot, and all of it is at most 1000 bytes',
    });
  try {
    const { object } = await findOwnObject(bucket, name, signal);
    if (object !== undefined) return { object: object.name, hasSide: readMetadata(object.metadata).hasSide };
  } catch (error) {
    // Who may write but not read will not find out what is there.
    if (!isError(error, 'FORBIDDEN')) throw error;
  }
  return { object: first, hasSide: false };
}

/** What all new objects have in common. A copy that caches hand out for an hour would be an old image for that long. */
export function newObject(
  bucket: Bucket,
  name: string,
  metadata: Readonly<Record<string, string>>,
): NewObject {
  return {
    name,
    contentType: 'application/octet-stream',
    metadata,
    ...(bucket.publishes && { cacheControl: 'no-cache' }),
  };
}

async function hashes({ path, digest }: ImageFile, signal?: AbortSignal) {
  try {
    const { md5, sha256 } = await hashFile(path, digest === undefined ? ['md5', 'sha256'] : ['md5'], {
      signal,
    });
    return { digest: digest ?? `sha256:${sha256}`, md5: Buffer.from(md5, 'hex').toString('base64') };
  } catch (error) {
    throw fileError('read', path, error);
  }
}

export async function putSide(
  bucket: Bucket,
  object: string,
  text: string,
  signal?: AbortSignal,
): Promise<void> {
  const resource = { ...newObject(bucket, sideNameOf(object), {}), contentType: 'application/json' };
  const bytes = Buffer.from(text);
  await insertObject(bucket, resource, { size: bytes.length, open: () => Readable.from([bytes]) }, signal);
}

/** Removes a side object that has become needless. One that stays is ignored: it names the image it belongs to. */
async function removeSide(bucket: Bucket, object: string, signal?: AbortSignal): Promise<void> {
  try {
    await removeObject(bucket, sideNameOf(object), undefined, signal);
  } catch (error) {
    if (!isError(error) || error.code === 'CANCELED') throw error;
    debug('%s stays: %s', bucket.show(sideNameOf(object)), error.message);
  }
}

async function verify(
  bucket: Bucket,
  stored: StoredObject,
  file: ImageFile,
  md5: string,
  signal?: AbortSignal,
): Promise<void> {
  if (stored.size === file.size && (stored.md5 === undefined || stored.md5 === md5)) return;
  await removeObject(bucket, stored.name, stored.generation, signal);
  throw corrupt(file);
}

function isHashMismatch(error: unknown): boolean {
  return isError(error) && error.status === 400 && /hash.*match/i.test(error.message);
}

function corrupt({ path }: ImageFile, cause?: unknown): SregistryError {
  return new SregistryError('CORRUPT', `${path}: Cloud Storage received other bytes than the file has`, {
    hint: 'the file may have changed while it was pushed; push it again',
    cause,
  });
}
