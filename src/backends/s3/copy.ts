/** Copies within the bucket, by the service ("CopyObject" and "UploadPartCopy", Amazon S3 API Reference). */
import pMap from 'p-map';
import { isError, SregistryError } from '../../base/errors.ts';
import type { ImageName } from '../../image/name.ts';
import type { RemoteImage } from '../backend.ts';
import type { Headers } from '../http.ts';
import { type Bucket, goneIsStale } from './bucket.ts';
import { type Handle, handleOf, headObject, opaque, toRemoteImage } from './images.ts';
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

/** An object on its way to another key. */
interface Copying {
  readonly bucket: Bucket;
  readonly source: Handle;
  readonly size: number;
  readonly key: string;
  readonly limits: typeof COPY_LIMITS;
  /** Headers that say of which revision it is to be a copy. */
  readonly conditions: Headers;
  readonly signal: AbortSignal | undefined;
}

export async function copyImage(
  bucket: Bucket,
  from: RemoteImage,
  to: ImageName,
  signal?: AbortSignal,
  limits = COPY_LIMITS,
): Promise<RemoteImage> {
  const source = handleOf(from);
  const { key, hasSide } = await targetOf(bucket, to, signal);
  if (key === source.key && !source.pinned) return { ...from, name: to };
  if (source.side) await copySide(bucket, source.key, key, signal);
  else if (hasSide) await removeSide(bucket, key, signal);
  const conditions = { 'x-amz-copy-source-if-match': source.etag };
  await copyObject({ bucket, source, size: from.size, key, limits, conditions, signal });
  const found = await headObject(bucket, key, {}, signal);
  if (found !== undefined && Number(found.headers['content-length']) === from.size)
    return toRemoteImage(bucket, to, found, signal);
  throw new SregistryError('SERVICE', `${bucket.show(key)}: not there as it was copied`);
}

async function copyObject(copying: Copying): Promise<void> {
  const { bucket, source, size, limits, signal } = copying;
  const copy = size <= limits.whole ? copyWhole : copyInParts;
  try {
    await copy(copying);
  } catch (cause) {
    const error = goneIsStale(cause, bucket.show(source.key));
    // Swift compares objects that were made of parts with another tag than the one it shows.
    if (!isError(error, 'STALE') || !(await isUnchanged(bucket, source, signal))) throw error;
    await copy({ ...copying, conditions: {} });
  }
}

async function isUnchanged(bucket: Bucket, source: Handle, signal?: AbortSignal): Promise<boolean> {
  const found = await headSource(bucket, source, signal);
  return found !== undefined && opaque(found.headers.etag ?? '') === opaque(source.etag);
}

function headSource(bucket: Bucket, { key, version, pinned }: Handle, signal?: AbortSignal) {
  return headObject(bucket, key, { versionId: pinned ? version : undefined }, signal);
}

function sourceHeader(bucket: Bucket, { key, version, pinned }: Handle): Headers {
  const suffix = pinned && version !== undefined ? `?versionId=${encodeURIComponent(version)}` : '';
  return { 'x-amz-copy-source': `/${encodeURIComponent(bucket.place.bucket)}/${encodeKey(key)}${suffix}` };
}

/** The service takes the metadata along; access control lists it does not. */
async function copyWhole({ bucket, source, key, conditions, signal }: Copying): Promise<void> {
  const headers = { ...bucket.objectHeaders, ...sourceHeader(bucket, source), ...conditions };
  await patientWork(bucket, 'PUT', key, { headers, signal });
}

/** Without its side object an image is still one: it has those annotations that fit into its metadata. */
async function copySide(bucket: Bucket, from: string, to: string, signal?: AbortSignal): Promise<void> {
  const headers = { ...bucket.objectHeaders, ...sourceHeader(bucket, { key: sideKeyOf(from), etag: '' }) };
  try {
    await patientWork(bucket, 'PUT', sideKeyOf(to), { headers, signal });
  } catch (error) {
    if (!isError(error, 'NOT_FOUND')) throw error;
  }
}

async function copyInParts(copying: Copying): Promise<void> {
  const { bucket, source, size, key, limits, signal } = copying;
  const original = await headSource(bucket, source, signal);
  if (original === undefined)
    throw goneIsStale(new SregistryError('NOT_FOUND', source.key), bucket.show(source.key));
  const headers = { 'content-type': 'application/octet-stream', ...copyMetadata(original.headers) };
  const upload = await createUpload(bucket, key, headers, signal);
  try {
    const numbers = Array.from({ length: Math.ceil(size / limits.part) }, (_, index) => index + 1);
    const copyPart = (number: number) => copyRange(copying, upload, number);
    await completeUpload(bucket, upload, await pMap(numbers, copyPart, { concurrency: CONCURRENCY }), signal);
  } catch (error) {
    await abortUpload(bucket, upload).catch(() => {});
    throw error;
  }
}

async function copyRange(
  { bucket, source, size, limits, conditions, signal }: Copying,
  { key, id }: Upload,
  number: number,
): Promise<StoredPart> {
  const first = (number - 1) * limits.part;
  const last = Math.min(size, first + limits.part) - 1;
  const range = { 'x-amz-copy-source-range': `bytes=${first}-${last}` };
  const reply = await patientWork(bucket, 'PUT', key, {
    query: { partNumber: number, uploadId: id },
    headers: { ...sourceHeader(bucket, source), ...conditions, ...range },
    signal,
  });
  const etag = textOf(parseXml(reply.text(), bucket.show(key)), 'ETag');
  if (etag === undefined)
    throw new SregistryError('SERVICE', `${bucket.show(key)}: a part copied without an ETag`);
  return { number, etag };
}
