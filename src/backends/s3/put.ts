/** Stores objects: a small one with one request, a large one in parts. Then checks what the service has. */
import { describeError, isError, SregistryError } from '../../base/errors.ts';
import { debugLog } from '../../log/index.ts';
import type { Headers } from '../http.ts';
import { changedWhilePushed } from '../kit/changed.ts';
import { readMetadata } from '../kit/metadata.ts';
import { type StoredPart, uploadInParallel } from '../kit/parallel-upload.ts';
import type { PutOptions, SourceFile } from '../kit/store.ts';
import type { Bucket } from './bucket.ts';
import { compositeTag, digestsOf, digestsOfRange } from './digests.ts';
import { METADATA, toHeaders } from './metadata.ts';
import { headObject, madeObject, opaque, type StoredObject } from './objects.ts';
import {
  abortUpload,
  completeUpload,
  createUpload,
  listParts,
  listUploads,
  putContent,
  type Upload,
} from './uploads.ts';

const debug = debugLog('s3');

/** Bytes up to which one request sends the whole file. */
const SMALL = 16 * 1024 * 1024;
/** The smallest part in bytes; S3 requires 5 MiB of all parts but the last. */
const SMALLEST_PART = 8 * 1024 * 1024;
/**
 * Most parts of an upload; S3 accepts 10,000. With fewer, a lost part is still only a thousandth of the file, and the state saved
 * after each part stays small.
 */
const MOST_PARTS = 1000;
const MEBIBYTE = 1024 * 1024;
/** "Conditional writes", Amazon S3 User Guide. */
const CONDITION = { 'if-none-match': '*' };
/** Milliseconds after which an unfinished upload counts as abandoned. */
const ORPHANED = 24 * 3600 * 1000;

export async function putObject(
  bucket: Bucket,
  key: string,
  file: SourceFile,
  options: PutOptions,
): Promise<StoredObject> {
  const headers = { 'content-type': 'application/octet-stream', ...toHeaders(options.metadata) };
  const putting: Putting = { ...options, bucket, key, file, headers };
  return lookAgain(putting, await (file.size <= SMALL ? putWhole(putting) : putInParts(putting)));
}

export async function putSmall(bucket: Bucket, key: string, body: Buffer, signal?: AbortSignal) {
  const content = { body, size: body.length, digests: digestsOf(body) };
  const headers = { ...bucket.objectHeaders, 'content-type': 'application/json' };
  await putContent(bucket, key, content, { headers, signal });
}

/** A push in progress. */
interface Putting extends PutOptions {
  readonly bucket: Bucket;
  readonly key: string;
  readonly file: SourceFile;
  readonly headers: Headers;
}

/** Sends the file with one request. Returns the expected entity tag. */
async function putWhole({ bucket, key, file, headers, signal, ifAbsent }: Putting): Promise<string> {
  const { path, size, digest, open } = file;
  const digests = await digestsOfRange({ path, start: 0, end: size }, signal);
  const { sha256 } = digests;
  if (`sha256:${sha256.toString('hex')}` !== digest)
    throw new SregistryError('CORRUPT', `${path} changed while it was pushed`, { hint: 'push it again' });
  const all = {
    ...bucket.objectHeaders,
    ...headers,
    ...(bucket.endpoint.isAmazon && { 'x-amz-checksum-sha256': sha256.toString('base64') }),
    ...(ifAbsent && CONDITION),
  };
  return putContent(bucket, key, { body: open, size, digests }, { headers: all, signal });
}

/** Sends the file as a multipart upload. Returns the expected entity tag if the parts determine it. */
async function putInParts(putting: Putting): Promise<string | undefined> {
  const { bucket, key, file, headers, signal } = putting;
  const of = (id: string) => ({ bucket, key, id });
  return uploadInParallel(
    {
      what: bucket.show(key),
      file,
      identity: { target: bucket.endpoint.target, key },
      partSize: Math.max(SMALLEST_PART, Math.ceil(file.size / MOST_PARTS / MEBIBYTE) * MEBIBYTE),
      start: async () => (await createUpload(bucket, key, headers, signal)).id,
      opened: (id) => abortOrphans(of(id), signal),
      list: (id) => listParts(of(id), signal),
      isSame: async (etag, part) =>
        opaque(etag).toLowerCase() === (await digestsOfRange(part, signal)).md5.toString('hex'),
      send: async (id, part, body, canceled) => {
        const digests = await digestsOfRange(part, canceled);
        const content = { body, size: part.end - part.start, digests };
        const query = { partNumber: part.number, uploadId: id };
        return putContent(bucket, key, content, { query, signal: canceled });
      },
      complete: (id, parts) => complete(putting, of(id), parts),
      abort: (id, limit) => abortUpload(of(id), limit),
    },
    putting,
  );
}

async function complete(
  { bucket, key, file, signal, ifAbsent }: Putting,
  upload: Upload,
  parts: readonly StoredPart[],
): Promise<string | undefined> {
  // Not every service supports the condition here.
  if (ifAbsent && (await headObject(bucket, key, {}, signal)) !== undefined)
    throw new SregistryError('EXISTS', `${bucket.show(key)} exists already`);
  try {
    await completeUpload(upload, parts, { headers: ifAbsent ? CONDITION : {}, signal });
  } catch (error) {
    if (!isError(error, 'NOT_FOUND')) throw error;
    // A lost reply may have confirmed the upload; the service has forgotten it since.
    const found = await headObject(bucket, key, {}, signal);
    if (found === undefined || digestOf(found) !== file.digest) throw error;
  }
  return compositeTag(parts.map(({ etag }) => etag));
}

/** Aborts uploads of this key that are older than a day: their parts take space that no listing shows. */
async function abortOrphans({ bucket, key, id }: Upload, signal?: AbortSignal): Promise<void> {
  try {
    for await (const upload of listUploads(bucket, key, signal)) {
      if (upload.id === id || Date.now() - upload.started.getTime() < ORPHANED) continue;
      debug('aborting abandoned upload %s of %s', upload.id, key);
      await abortUpload(upload, signal);
    }
  } catch (error) {
    if (isError(error, 'CANCELED')) throw error;
    debug('cannot abort abandoned uploads of %s: %s', key, describeError(error));
  }
}

const digestOf = ({ metadata = {}, digest }: StoredObject) =>
  readMetadata(METADATA, metadata).digest ?? digest;

/** Checks that the service has what was sent, and returns it. */
async function lookAgain({ bucket, key, file, signal }: Putting, tag?: string): Promise<StoredObject> {
  const found = await madeObject(bucket, key, signal);
  // Another push may have replaced the object meanwhile. That push checks its own bytes.
  if (digestOf(found) !== file.digest || isTag(found.ref.etag, tag)) return found;
  throw changedWhilePushed(`${bucket.show(key)}: the service stored different bytes than were sent`);
}

/** Whether this is the expected tag. Compares only tags of objects made of parts. */
function isTag(etag: string, expected: string | undefined): boolean {
  const kind = /^[0-9a-f]{32}-\d+$/i;
  const [actual, wanted] = [opaque(etag), opaque(expected ?? '')];
  return !kind.test(actual) || !kind.test(wanted) || actual.toLowerCase() === wanted.toLowerCase();
}
