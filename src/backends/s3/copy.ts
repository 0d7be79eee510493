/** Lets the service copy objects within the bucket ("CopyObject" and "UploadPartCopy", Amazon S3 API Reference). */
import pMap from 'p-map';
import { isError } from '../../base/errors.ts';
import type { Headers } from '../http.ts';
import type { StoredPart } from '../kit/parallel-upload.ts';
import { encodeKey } from '../kit/signed-address.ts';
import { goneIsStale } from '../kit/stale.ts';
import type { CopyOptions } from '../kit/store.ts';
import type { Bucket } from './bucket.ts';
import { toHeaders } from './metadata.ts';
import { headObject, madeObject, type ObjectRef, opaque, type StoredObject } from './objects.ts';
import { abortUpload, completeUpload, createUpload, requestWork, type Upload } from './uploads.ts';
import { requiredText } from './xml.ts';

const GIBIBYTE = 1024 ** 3;

/** Bytes: the most that S3 copies with one request, and the size of the parts of a larger copy. */
export const COPY_LIMITS = { whole: 5 * GIBIBYTE, part: GIBIBYTE };

/** Parts copied at once. */
const CONCURRENCY = 4;

/** A copy in progress. */
interface Copying {
  readonly bucket: Bucket;
  readonly source: ObjectRef;
  readonly size: number;
  readonly key: string;
  readonly limits: typeof COPY_LIMITS;
  /** Headers of the copy. */
  readonly headers: Headers;
  /** Headers that name the revision to copy. */
  readonly conditions: Headers;
  readonly signal: AbortSignal | undefined;
}

export async function copyObject(
  bucket: Bucket,
  source: ObjectRef,
  key: string,
  { metadata, size, signal }: CopyOptions,
  limits = COPY_LIMITS,
): Promise<StoredObject> {
  const headers = { 'content-type': 'application/octet-stream', ...toHeaders(metadata) };
  const conditions: Headers = source.etag === undefined ? {} : { 'x-amz-copy-source-if-match': source.etag };
  const copying: Copying = { bucket, source, size, key, limits, headers, conditions, signal };
  const copy = size <= limits.whole ? copyWhole : copyInParts;
  try {
    await copy(copying);
  } catch (cause) {
    const error = goneIsStale(cause, bucket.show(source.key));
    // For an object made of parts, Swift compares another tag than the one it reports.
    if (!isError(error, 'STALE') || !(await isUnchanged(bucket, source, signal))) throw error;
    await copy({ ...copying, conditions: {} });
  }
  return madeObject(bucket, key, signal);
}

async function isUnchanged(bucket: Bucket, source: ObjectRef, signal?: AbortSignal): Promise<boolean> {
  const { key, version, exact, etag = '' } = source;
  const found = await headObject(bucket, key, { versionId: exact ? version : undefined }, signal);
  return found !== undefined && opaque(found.ref.etag) === opaque(etag);
}

function sourceHeader({ bucket, source: { key, version, exact } }: Copying): Headers {
  const suffix = exact && version !== undefined ? `?versionId=${encodeURIComponent(version)}` : '';
  return { 'x-amz-copy-source': `/${encodeURIComponent(bucket.endpoint.bucket)}/${encodeKey(key)}${suffix}` };
}

async function copyWhole(copying: Copying): Promise<void> {
  const { bucket, key, headers, conditions, signal } = copying;
  await requestWork(bucket, 'PUT', key, {
    headers: {
      ...bucket.objectHeaders,
      ...headers,
      'x-amz-metadata-directive': 'REPLACE',
      ...sourceHeader(copying),
      ...conditions,
    },
    signal,
  });
}

async function copyInParts(copying: Copying): Promise<void> {
  const { bucket, size, key, headers, limits, signal } = copying;
  const upload = await createUpload(bucket, key, headers, signal);
  try {
    const numbers = Array.from({ length: Math.ceil(size / limits.part) }, (_, index) => index + 1);
    const copyPart = (number: number) => copyRange(copying, upload, number);
    const parts = await pMap(numbers, copyPart, { concurrency: CONCURRENCY });
    await completeUpload(upload, parts, { signal });
  } catch (error) {
    await abortUpload(upload).catch(() => {});
    throw error;
  }
}

async function copyRange(copying: Copying, { key, id }: Upload, number: number): Promise<StoredPart> {
  const { bucket, size, limits, conditions, signal } = copying;
  const first = (number - 1) * limits.part;
  const last = Math.min(size, first + limits.part) - 1;
  const range = { 'x-amz-copy-source-range': `bytes=${first}-${last}` };
  const reply = await requestWork(bucket, 'PUT', key, {
    query: { partNumber: number, uploadId: id },
    headers: { ...sourceHeader(copying), ...conditions, ...range },
    signal,
  });
  return { number, etag: requiredText(reply.text(), 'ETag', bucket.show(key)) };
}
