/** Multipart uploads, as the service sees them ("Multipart upload API and permissions", Amazon S3 User Guide). */
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

/** Milliseconds for the service to put an object together, or to copy one, in which it may move gigabytes. */
const WORK_TIMEOUT = 600_000;
/** How often work that fails within a 200 is asked for. */
const ATTEMPTS = 5;

/** @param headers metadata and type of the object to be. */
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

/** Bytes to be sent, and their checksums. */
export interface Content {
  readonly body: Body;
  readonly size: number;
  readonly digests: Digests;
}

/** Sends a part, or a whole object. Returns the entity tag, after a look at it. */
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

/** CORRUPT where the entity tag that the service gives is the MD5 of other bytes. */
function checkStored(what: string, headers: Headers, { md5 }: Digests): void {
  if (headers.etag === undefined) throw new SregistryError('SERVICE', `${what}: stored without an ETag`);
  if (!isMd5Tag(headers) || opaque(headers.etag).toLowerCase() === md5.toString('hex')) return;
  throw changedWhilePushed(`${what}: the service stored other bytes than were sent`);
}

/** The parts the service has, by number, with their sizes in bytes; undefined where it no longer knows the upload. */
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

/** Puts the object together. NOT_FOUND where the service does not know the upload (any more). */
export async function completeUpload(
  { bucket, key, id }: Upload,
  parts: readonly StoredPart[],
  { headers: conditions, signal }: Pick<BucketRequest, 'headers' | 'signal'> = {},
): Promise<void> {
  const sorted = [...parts].sort((one, other) => one.number - other.number);
  const content = { Part: sorted.map(({ number, etag }) => ({ PartNumber: number, ETag: etag })) };
  const body = Buffer.from(toXml('CompleteMultipartUpload', content));
  const headers = { ...digestHeaders(digestsOf(body)), 'content-type': 'application/xml', ...conditions };
  await patientWork(bucket, 'POST', key, { query: { uploadId: id }, headers, body, signal });
}

/** A request that makes the service work, and whose failure may come within a 200: then it is sent again. */
export async function patientWork(
  bucket: Bucket,
  method: 'POST' | 'PUT',
  key: string,
  request: BucketRequest,
): Promise<BufferedResponse> {
  const patience = { timeout: WORK_TIMEOUT, stall: WORK_TIMEOUT, idempotent: true };
  const work = async () => {
    const reply = await bucket.request(method, key, { ...request, ...patience });
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

/** Gives an upload up, and with it the parts that are there. One that is unknown is none. */
export async function abortUpload({ bucket, key, id }: Upload, signal?: AbortSignal): Promise<void> {
  await unlessAbsent(bucket.request('DELETE', key, { query: { uploadId: id }, signal }));
}

/** The uploads of a key that were never finished. */
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
