/** The requests of multipart uploads ("Multipart upload API and permissions", Amazon S3 User Guide). */
import { SregistryError } from '../../base/errors.ts';
import { attemptsWorth, type Body, type BufferedResponse, type Headers } from '../http.ts';
import { unlessAbsent } from '../kit/absent.ts';
import { changedWhilePushed } from '../kit/changed.ts';
import type { StoredPart } from '../kit/parallel-upload.ts';
import { withRetries } from '../kit/retries.ts';
import type { Bucket, BucketRequest } from './bucket.ts';
import { type Digests, digestHeaders, digestsOf, isMd5Tag } from './digests.ts';
import { LateFailure, lateFailure } from './failure.ts';
import { listPages, opaque } from './objects.ts';
import { children, requiredText, textOf, toXml } from './xml.ts';

export interface Upload {
  readonly bucket: Bucket;
  readonly key: string;
  readonly id: string;
}

/** Milliseconds for the service to assemble or copy an object, which may move gigabytes. */
const WORK_TIMEOUT = 600_000;
/** Attempts of a request that fails within a reply of status 200. */
const ATTEMPTS = 5;

/** @param headers metadata and type of the new object. */
export async function createUpload(
  bucket: Bucket,
  key: string,
  headers: Headers,
  signal?: AbortSignal,
): Promise<Upload> {
  const request = { query: { uploads: '' }, headers: { ...bucket.objectHeaders, ...headers }, signal };
  const reply = await bucket.request('POST', key, request);
  return { bucket, key, id: requiredText(reply.text(), 'UploadId', bucket.show(key)) };
}

/** The bytes of a request, and their checksums. */
export interface Content {
  readonly body: Body;
  readonly size: number;
  readonly digests: Digests;
}

/** Sends a part or a whole object. Checks its entity tag and returns it. */
export async function putContent(
  bucket: Bucket,
  key: string,
  { body, size, digests }: Content,
  { query, headers, signal }: Pick<BucketRequest, 'query' | 'headers' | 'signal'>,
): Promise<string> {
  const reply = await bucket.request('PUT', key, {
    query,
    headers: { ...headers, ...digestHeaders(digests), 'content-length': String(size) },
    body,
    timeout: Number.POSITIVE_INFINITY,
    signal,
  });
  checkStored(bucket.show(key), reply.headers, digests);
  return reply.headers.etag ?? '';
}

/** Throws CORRUPT if the returned entity tag is the MD5 of other bytes. */
function checkStored(what: string, headers: Headers, { md5 }: Digests): void {
  if (headers.etag === undefined) throw new SregistryError('SERVICE', `${what}: the reply has no ETag`);
  if (!isMd5Tag(headers) || opaque(headers.etag).toLowerCase() === md5.toString('hex')) return;
  throw changedWhilePushed(`${what}: the service stored different bytes than were sent`);
}

/** The parts that the service has, by number, with their sizes in bytes; undefined if it no longer knows the upload. */
export async function listParts({ bucket, key, id }: Upload, signal?: AbortSignal) {
  const listing = { key, query: { uploadId: id }, next: ['part-number-marker'] };
  const pages = await unlessAbsent(Array.fromAsync(listPages(bucket, listing, signal)));
  if (pages === undefined) return undefined;
  const parts = pages.flatMap((page) => children(page, 'Part'));
  const entries = parts.map((part) => {
    const stored = { etag: textOf(part, 'ETag') ?? '', size: Number(textOf(part, 'Size')) };
    return [Number(textOf(part, 'PartNumber')), stored] as const;
  });
  return new Map(entries);
}

/** Assembles the object. Throws NOT_FOUND if the service does not know the upload, or no longer does. */
export async function completeUpload(
  { bucket, key, id }: Upload,
  parts: readonly StoredPart[],
  { headers: conditions, signal }: Pick<BucketRequest, 'headers' | 'signal'> = {},
): Promise<void> {
  const sorted = [...parts].sort((one, other) => one.number - other.number);
  const content = { Part: sorted.map(({ number, etag }) => ({ PartNumber: number, ETag: etag })) };
  const body = Buffer.from(toXml('CompleteMultipartUpload', content));
  const headers = { ...digestHeaders(digestsOf(body)), 'content-type': 'application/xml', ...conditions };
  await requestWork(bucket, 'POST', key, { query: { uploadId: id }, headers, body, signal });
}

/** Sends a request that takes the service long. Sends it again if a reply of status 200 reports a passing failure. */
export async function requestWork(
  bucket: Bucket,
  method: 'POST' | 'PUT',
  key: string,
  request: BucketRequest,
): Promise<BufferedResponse> {
  const limits = { timeout: WORK_TIMEOUT, stall: WORK_TIMEOUT, idempotent: true };
  const work = async () => {
    const reply = await bucket.request(method, key, { ...request, ...limits });
    const failure = lateFailure(reply.text(), `${method} ${bucket.show(key)}`);
    if (failure !== undefined) throw failure;
    return reply;
  };
  return withRetries(work, {
    what: bucket.show(key),
    attempts: (error) => (error instanceof LateFailure && attemptsWorth(error, true) > 1 ? ATTEMPTS : 1),
    signal: request.signal,
  });
}

/** Aborts an upload and deletes its parts. Not an error if the service does not know it. */
export async function abortUpload({ bucket, key, id }: Upload, signal?: AbortSignal): Promise<void> {
  await unlessAbsent(bucket.request('DELETE', key, { query: { uploadId: id }, signal }));
}

/** The unfinished uploads of a key. */
export async function* listUploads(
  bucket: Bucket,
  key: string,
  signal?: AbortSignal,
): AsyncGenerator<Upload & { readonly started: Date }> {
  const query = { uploads: '', prefix: key };
  const listing = { query, next: ['key-marker', 'upload-id-marker'] };
  for await (const page of listPages(bucket, listing, signal)) {
    for (const element of children(page, 'Upload')) {
      const id = textOf(element, 'UploadId');
      const started = new Date(textOf(element, 'Initiated') ?? Number.NaN);
      if (id && textOf(element, 'Key') === key) yield { bucket, key, id, started };
    }
  }
}
