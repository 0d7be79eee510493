/** Pushing an image: a small one with one request, a large one in parts, and then looked at. */
import { readFile } from 'node:fs/promises';
import { describeError, isError, SregistryError } from '../../base/errors.ts';
import { fileError } from '../../base/files.ts';
import { sha256File } from '../../base/hash.ts';
import type { ImageName } from '../../image/name.ts';
import { formatImageName } from '../../image/names.ts';
import { debugLog } from '../../log/index.ts';
import type { ImageFile, PushOptions, RemoteImage } from '../backend.ts';
import type { Headers } from '../http.ts';
import type { Bucket } from './bucket.ts';
import { compositeTag, digestHeaders, digestsOf } from './digests.ts';
import { type Found, findObject, headObject, opaque, toRemoteImage } from './images.ts';
import { isTooLong, keysOf } from './layout.ts';
import { readMetadata, sideKeyOf, storeMetadata } from './metadata.ts';
import { type LargeFile, uploadInParts } from './parts.ts';
import { checkStored } from './uploads.ts';

const debug = debugLog('s3');

/** Bytes of a file that is sent with one request, and held in memory for that. */
const SMALL = 16 * 1024 * 1024;

export async function pushImage(
  bucket: Bucket,
  file: ImageFile,
  name: ImageName,
  options: PushOptions = {},
): Promise<RemoteImage> {
  const { signal, annotations } = options;
  const target = await targetOf(bucket, name, signal);
  const { key } = target;
  const digest = file.digest ?? (await hash(file, signal));
  const { headers: metadata, side } = storeMetadata(file.size, digest, annotations);
  const headers = { 'content-type': 'application/octet-stream', ...metadata };
  // First, so that there is never an image whose side object is still to come.
  if (side !== undefined) await putSide(bucket, key, side, signal);
  const source = { path: file.path, size: file.size, digest };
  const tag =
    file.size <= SMALL
      ? await putWhole(bucket, key, source, headers, options)
      : compositeTag(
          (await uploadInParts(bucket, key, source, { ...options, headers })).map(({ etag }) => etag),
        );
  if (side === undefined && target.hasSide) await removeSide(bucket, key, signal);
  const found = await lookAgain(bucket, key, source, tag, signal);
  return toRemoteImage(bucket, name, found, signal);
}

/** The key to push to: that of the image that is there, else the one the Python client would give it. */
export async function targetOf(
  bucket: Bucket,
  name: ImageName,
  signal?: AbortSignal,
): Promise<{ readonly key: string; readonly hasSide: boolean }> {
  const keys = keysOf(name);
  const [first] = keys;
  if (first === undefined || isTooLong(first))
    throw new SregistryError('INVALID_NAME', `${formatImageName(name)} cannot be the key of an image`, {
      hint: 'No part of the name may be empty or begin with a dot, and all of it is at most 1000 bytes',
    });
  try {
    const present = await findObject(bucket, keys, signal);
    if (present !== undefined) return { key: present.key, hasSide: readMetadata(present.headers).hasSide };
  } catch (error) {
    // Who may write but not read will not find out what is there.
    if (!isError(error, 'FORBIDDEN')) throw error;
  }
  return { key: first, hasSide: false };
}

async function hash({ path }: ImageFile, signal?: AbortSignal): Promise<string> {
  try {
    return await sha256File(path, { signal });
  } catch (error) {
    throw fileError('read', path, error);
  }
}

/** Sends the file with one request. Returns the entity tag it should have. */
async function putWhole(
  bucket: Bucket,
  key: string,
  { path, size, digest }: LargeFile,
  headers: Headers,
  { progress, signal }: PushOptions,
): Promise<string | undefined> {
  const body = await readFile(path);
  const digests = digestsOf(body);
  const sha256 = digests.sha256.toString('hex');
  if (body.length !== size || `sha256:${sha256}` !== digest)
    throw new SregistryError('CORRUPT', `${path} changed while it was pushed`, { hint: 'push it again' });
  const checksum = bucket.place.isAmazon
    ? { 'x-amz-checksum-sha256': digests.sha256.toString('base64') }
    : {};
  const all = { ...bucket.objectHeaders, ...headers, ...digestHeaders(digests), ...checksum };
  const reply = await bucket.request('PUT', key, { body, headers: all, signal });
  checkStored(bucket.show(key), reply.headers, digests);
  progress?.(size, size);
  return reply.headers.etag;
}

/** What is there now, which has to be what was sent. */
async function lookAgain(
  bucket: Bucket,
  key: string,
  { size, digest }: LargeFile,
  tag: string | undefined,
  signal?: AbortSignal,
): Promise<Found> {
  const found = await headObject(bucket, key, {}, signal);
  if (found === undefined)
    throw new SregistryError('SERVICE', `${bucket.show(key)}: not there after it was stored`);
  const { headers } = found;
  // Somebody may have pushed something else in the meantime; that is theirs to answer for.
  const isOurs = readMetadata(headers).digest === digest;
  const isSame = Number(headers['content-length']) === size && isTag(headers, tag);
  if (!isOurs || isSame) return found;
  throw new SregistryError('CORRUPT', `${bucket.show(key)}: stored with other bytes than were sent`, {
    hint: 'push it again',
  });
}

/** Is this the tag it should have? Compared where both are of the kind that tells about bytes. */
function isTag({ etag = '' }: Headers, expected: string | undefined): boolean {
  const kind = /^[0-9a-f]{32}-\d+$/i;
  const [actual, wanted] = [opaque(etag), opaque(expected ?? '')];
  return !kind.test(actual) || !kind.test(wanted) || actual.toLowerCase() === wanted.toLowerCase();
}

async function putSide(bucket: Bucket, key: string, text: string, signal?: AbortSignal): Promise<void> {
  const body = Buffer.from(text);
  const headers = {
    ...bucket.objectHeaders,
    'content-type': 'application/json',
    ...digestHeaders(digestsOf(body)),
  };
  await bucket.request('PUT', sideKeyOf(key), { body, headers, signal });
}

/** Removes the side object of a key. One that stays is ignored: it names the image it belongs to. */
export async function removeSide(bucket: Bucket, key: string, signal?: AbortSignal): Promise<void> {
  try {
    await bucket.request('DELETE', sideKeyOf(key), { signal });
  } catch (error) {
    if (isError(error, 'CANCELED')) throw error;
    debug('%s stays: %s', bucket.show(sideKeyOf(key)), describeError(error));
  }
}
