/** Copies within the bucket, by the service ("CopyObject" and "UploadPartCopy", Amazon S3 API Reference). */
import pMap from 'p-map';
import { SregistryError } from '../../base/errors.ts';
import type { ImageName } from '../../image/name.ts';
import type { RemoteImage } from '../backend.ts';
import type { Headers } from '../http.ts';
import { type Bucket, goneIsStale } from './bucket.ts';
import { type Handle, handleOf, headObject, toRemoteImage } from './images.ts';
import { copyMetadata, sideKeyOf } from './metadata.ts';
import { encodeKey } from './place.ts';
import { removeSide, targetOf } from './push.ts';
import {
  abortUpload,
  completeUpload,
  createUpload,
  patientWork,
  type StoredPart,
  type Upload,
} from './uploads.ts';
import { parseXml, textOf } from './xml.ts';

const GIBIBYTE = 1024 ** 3;

/** Bytes: what S3 copies with one request at most, and the parts in which it copies more. */
export const COPY_LIMITS = { whole: 5 * GIBIBYTE, part: GIBIBYTE };

/** Parts that are copied at once. */
const CONCURRENCY = 4;

export async function copyImage(
  bucket: Bucket,
  from: RemoteImage,
  to: ImageName,
  signal?: AbortSignal,
  limits = COPY_LIMITS,
): Promise<RemoteImage> {
  const source = handleOf(from);
  const target = await targetOf(bucket, to, signal);
  const { key } = target;
  if (source.side)
    await copyWhole(bucket, { ...source, key: sideKeyOf(source.key) }, sideKeyOf(key), {}, signal);
  else if (target.hasSide) await removeSide(bucket, key, signal);
  try {
    if (key === source.key && !source.pinned) return { ...from, name: to };
    if (from.size <= limits.whole) await copyWhole(bucket, source, key, condition(source), signal);
    else await copyInParts(bucket, from, key, limits.part, signal);
  } catch (error) {
    throw goneIsStale(error, bucket.show(source.key));
  }
  const found = await headObject(bucket, key, {}, signal);
  if (found !== undefined && Number(found.headers['content-length']) === from.size)
    return toRemoteImage(bucket, to, found, signal);
  throw new SregistryError('SERVICE', `${bucket.show(key)}: not there as it was copied`);
}

/** Only this revision is to be copied. */
function condition({ etag }: Handle): Headers {
  return { 'x-amz-copy-source-if-match': etag };
}

function sourceOf(bucket: Bucket, { key, version, pinned }: Handle): Headers {
  const suffix = pinned && version !== undefined ? `?versionId=${encodeURIComponent(version)}` : '';
  return { 'x-amz-copy-source': `/${encodeURIComponent(bucket.place.bucket)}/${encodeKey(key)}${suffix}` };
}

/** The service takes the metadata along; access control lists it does not. */
async function copyWhole(
  bucket: Bucket,
  source: Handle,
  key: string,
  conditions: Headers,
  signal?: AbortSignal,
): Promise<void> {
  const headers = { ...bucket.objectHeaders, ...sourceOf(bucket, source), ...conditions };
  await patientWork(bucket, 'PUT', key, { headers, signal });
}

async function copyInParts(
  bucket: Bucket,
  from: RemoteImage,
  key: string,
  partSize: number,
  signal?: AbortSignal,
): Promise<void> {
  const source = handleOf(from);
  const original = await headObject(
    bucket,
    source.key,
    { versionId: source.pinned ? source.version : undefined },
    signal,
  );
  if (original === undefined)
    throw new SregistryError('STALE', `${bucket.show(source.key)}: deleted since it was looked up`);
  const upload = await createUpload(
    bucket,
    key,
    { 'content-type': 'application/octet-stream', ...copyMetadata(original.headers) },
    signal,
  );
  try {
    const numbers = Array.from({ length: Math.ceil(from.size / partSize) }, (_, index) => index + 1);
    const copyPart = (number: number) => copyRange(bucket, from, upload, { number, partSize }, signal);
    await completeUpload(bucket, upload, await pMap(numbers, copyPart, { concurrency: CONCURRENCY }), signal);
  } catch (error) {
    await abortUpload(bucket, upload).catch(() => {});
    throw error;
  }
}

async function copyRange(
  bucket: Bucket,
  from: RemoteImage,
  { key, id }: Upload,
  { number, partSize }: { readonly number: number; readonly partSize: number },
  signal?: AbortSignal,
): Promise<StoredPart> {
  const source = handleOf(from);
  const first = (number - 1) * partSize;
  const last = Math.min(from.size, first + partSize) - 1;
  const range = { 'x-amz-copy-source-range': `bytes=${first}-${last}` };
  const headers = { ...sourceOf(bucket, source), ...condition(source), ...range };
  const reply = await patientWork(bucket, 'PUT', key, {
    query: { partNumber: number, uploadId: id },
    headers,
    signal,
  });
  const etag = textOf(parseXml(reply.text(), bucket.show(key)), 'ETag');
  if (etag === undefined)
    throw new SregistryError('SERVICE', `${bucket.show(key)}: a part copied without an ETag`);
  return { number, etag };
}
