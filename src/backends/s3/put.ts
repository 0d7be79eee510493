/** Storing objects: a small one with one request, a large one in parts, and then looked at. */
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

/** Bytes of a file that is sent with one request. */
const SMALL = 16 * 1024 * 1024;
/** Bytes of the smallest part; S3 takes none below 5 MiB but the last. */
const SMALLEST_PART = 8 * 1024 * 1024;
/**
 * Parts of an upload, S3 takes up to 10,000. Fewer do as well: a tenth of a percent is little to send again, and the
 * state that is saved after each of them stays small.
 */
const MOST_PARTS = 1000;
const MEBIBYTE = 1024 * 1024;
/** "Conditional writes", Amazon S3 User Guide. */
const CONDITION = { 'if-none-match': '*' };
/** Milliseconds after which an upload that nobody finished was left behind by a push that will not come back. */
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

/** An object to be. */
interface Putting extends PutOptions {
  readonly bucket: Bucket;
  readonly key: string;
  readonly file: SourceFile;
  readonly headers: Headers;
}

/** Sends the file with one request. Returns the entity tag it should have. */
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

/** Sends the file as a multipart upload. Returns the entity tag it should have, where its parts tell. */
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
  // Not every service knows the condition here.
  if (ifAbsent && (await headObject(bucket, key, {}, signal)) !== undefined)
    throw new SregistryError('EXISTS', `${bucket.show(key)} is there already`);
  try {
    await completeUpload(upload, parts, { headers: ifAbsent ? CONDITION : {}, signal });
  } catch (error) {
    if (!isError(error, 'NOT_FOUND')) throw error;
    // The answer may have been lost: then the upload is done, and no longer known.
    const found = await headObject(bucket, key, {}, signal);
    if (found === undefined || digestOf(found) !== file.digest) throw error;
  }
  return compositeTag(parts.map(({ etag }) => etag));
}

/** Pushes of this key that were given up a day ago and more: their parts take space that nobody sees. */
async function abortOrphans({ bucket, key, id }: Upload, signal?: AbortSignal): Promise<void> {
  try {
    for await (const upload of listUploads(bucket, key, signal)) {
      if (upload.id === id || Date.now() - upload.started.getTime() < ORPHANED) continue;
      debug('upload %s of %s was left behind', upload.id, key);
      await abortUpload(upload, signal);
    }
  } catch (error) {
    if (isError(error, 'CANCELED')) throw error;
    debug('uploads of %s are not tidied up: %s', key, describeError(error));
  }
}

const digestOf = ({ metadata = {}, digest }: StoredObject) =>
  readMetadata(METADATA, metadata).digest ?? digest;

/** What is there now, which has to be what was sent. */
async function lookAgain({ bucket, key, file, signal }: Putting, tag?: string): Promise<StoredObject> {
  const found = await madeObject(bucket, key, signal);
  // Somebody may have pushed something else in the meantime; that is theirs to answer for.
  if (digestOf(found) !== file.digest || isTag(found.ref.etag, tag)) return found;
  throw changedWhilePushed(`${bucket.show(key)}: the service stored other bytes than were sent`);
}

/** Is this the tag it should have? Compared where both are of the kind that tells about bytes. */
function isTag(etag: string, expected: string | undefined): boolean {
  const kind = /^[0-9a-f]{32}-\d+$/i;
  const [actual, wanted] = [opaque(etag), opaque(expected ?? '')];
  return !kind.test(actual) || !kind.test(wanted) || actual.toLowerCase() === wanted.toLowerCase();
}
