/**
 * Stores objects (cloud.google.com/storage/docs/json_api/v1/objects/insert): a small one with one request that holds metadata and
 * content (`uploadType=multipart`); a large one in a resumable session
 * (cloud.google.com/storage/docs/performing-resumable-uploads). A POST with the metadata returns the session's address; an empty
 * PUT to it asks how many bytes the service has. A session lives for a week; the object appears with its last byte.
 */
import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import { isError, SregistryError } from '../../base/errors.ts';
import type { BufferedResponse, RequestOptions } from '../http.ts';
import { changedWhilePushed } from '../kit/changed.ts';
import { type OrderedUpload, type Received, SessionLost, uploadInOrder } from '../kit/ordered-upload.ts';
import type { PutOptions, SourceFile, Strings } from '../kit/store.ts';
import type { Bucket } from './bucket.ts';
import { type StoredObject, toObject } from './objects.ts';

/** The metadata of a new object, in the API's own terms. */
export interface NewObject {
  readonly name: string;
  readonly contentType: string;
  readonly metadata: Strings;
  /** Base64. The service refuses other bytes. */
  readonly md5Hash?: string;
  readonly cacheControl?: string;
}

/** Bytes up to which one request sends the whole file: repeating it costs little. */
const SMALL = 8 * 1024 * 1024;
/** Bytes of a PUT; the service requires multiples of 256 KiB. */
const CHUNK = 16 * 1024 * 1024;
/** Milliseconds of silence allowed after the last byte, while the service assembles a large object. */
const CLOSE_STALL = 300_000;
/** "Resume Incomplete": the service has a part and expects more. */
const INCOMPLETE = 308;

/** The metadata that all new objects share. Caches would serve a replaced public image for an hour. */
export function newObject(bucket: Bucket, name: string, metadata: Strings): NewObject {
  return {
    name,
    contentType: 'application/octet-stream',
    metadata,
    ...(bucket.publishes && { cacheControl: 'no-cache' }),
  };
}

export async function insertFile(
  bucket: Bucket,
  key: string,
  file: SourceFile,
  { metadata, ifAbsent, progress, signal, resume }: PutOptions,
): Promise<StoredObject> {
  const md5Hash = Buffer.from(file.md5 ?? '', 'hex').toString('base64');
  const insertion: Insertion = {
    bucket,
    object: { ...newObject(bucket, key, metadata), md5Hash },
    ifAbsent,
    signal,
  };
  try {
    if (file.size > SMALL) return await uploadInOrder(session(insertion, file), { progress, signal, resume });
    return await insertWhole(insertion, file);
  } catch (error) {
    if (!isError(error) || error.status !== 400 || !/hash.*match/i.test(error.message)) throw error;
    throw changedWhilePushed(`${file.path}: Cloud Storage received different bytes than the file has`, error);
  }
}

export async function insertBytes(
  bucket: Bucket,
  key: string,
  bytes: Buffer,
  signal?: AbortSignal,
): Promise<void> {
  const object = { ...newObject(bucket, key, {}), contentType: 'application/json' };
  await insertWhole({ bucket, object, signal }, { size: bytes.length, open: () => Readable.from([bytes]) });
}

/** An upload in progress. */
interface Insertion {
  readonly bucket: Bucket;
  readonly object: NewObject;
  readonly ifAbsent?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Sends a POST to the upload path, and explains a refusal. `ifGenerationMatch: 0` requires that the object does not exist. */
async function post(
  { bucket, object, ifAbsent, signal }: Insertion,
  uploadType: string,
  options: RequestOptions,
): Promise<BufferedResponse> {
  const query = {
    uploadType,
    name: object.name,
    ...(bucket.publishes && { predefinedAcl: 'publicRead' }),
    ...(ifAbsent && { ifGenerationMatch: 0 }),
  };
  try {
    // Repeating it stores the same bytes in the same place. An unused session leaves nothing behind.
    const request = { query, idempotent: true, signal, ...options };
    return await bucket.request('POST', `/upload${bucket.path('o')}`, request);
  } catch (error) {
    if (!isError(error)) throw error;
    if (error.code === 'NOT_FOUND') throw bucket.noSuchBucket(error);
    if (error.status === 400 && bucket.publishes && /uniform bucket-level|public access/i.test(error.message))
      throw new SregistryError(
        'SETTINGS',
        `${bucket.target} has one access policy for all objects: ${error.message}`,
        {
          hint:
            `publish them all (gcloud storage buckets add-iam-policy-binding gs://${bucket.name} --member=allUsers ` +
            '--role=roles/storage.objectViewer) and set private=yes here',
          cause: error,
        },
      );
    throw error;
  }
}

async function insertWhole(
  insertion: Insertion,
  content: Pick<SourceFile, 'size' | 'open'>,
): Promise<StoredObject> {
  const { bucket, object } = insertion;
  // RFC 2387. The content must not contain the boundary, so nobody may predict it.
  const boundary = randomUUID();
  const head = Buffer.from(
    `--${boundary}\r\ncontent-type: application/json; charset=UTF-8\r\n\r\n${JSON.stringify(object)}\r\n` +
      `--${boundary}\r\ncontent-type: ${object.contentType}\r\n\r\n`,
  );
  const tail = Buffer.from(`\r\n--${boundary}--`);
  const body = async function* () {
    yield head;
    yield* content.open();
    yield tail;
  };
  const reply = await post(insertion, 'multipart', {
    headers: {
      'content-type': `multipart/related; boundary=${boundary}`,
      'content-length': String(head.length + content.size + tail.length),
    },
    body: () => Readable.from(body(), { objectMode: false }),
    timeout: Number.POSITIVE_INFINITY,
  });
  return toObject(reply.json(), bucket);
}

/** A resumable session: its state is the address to send to. */
function session(insertion: Insertion, file: SourceFile): OrderedUpload<string, StoredObject> {
  const { bucket, object, signal } = insertion;
  const what = bucket.show(object.name);

  /** Sends a PUT. The service answers 404 or 410 if the session has expired or failed, 499 if it was canceled. */
  const put = async (address: string, options: RequestOptions) => {
    try {
      const request = bucket.request('PUT', new URL(address), { ...options, allow: [INCOMPLETE], signal });
      return receivedOf(bucket, address, await request);
    } catch (error) {
      if (isError(error, 'NOT_FOUND') || (isError(error) && error.status === 499))
        throw new SessionLost(what, error);
      throw error;
    }
  };

  return {
    what,
    file,
    // A session keeps the condition that it was opened with.
    identity: {
      target: bucket.target,
      object: object.name,
      md5: object.md5Hash,
      generation: insertion.ifAbsent ? '0' : undefined,
    },
    chunk: CHUNK,
    parse: (saved) => (typeof saved === 'string' && URL.canParse(saved) ? saved : undefined),
    start: async () => {
      const reply = await post(insertion, 'resumable', {
        headers: {
          'x-upload-content-type': object.contentType,
          'x-upload-content-length': String(file.size),
        },
        json: object,
      });
      const address = URL.parse(reply.headers.location ?? '', reply.url.href);
      if (address === null)
        throw new SregistryError('SERVICE', `${bucket.target}: the reply has no usable upload address`);
      return { session: address.href, offset: 0 };
    },
    ask: (address) => {
      const headers = { 'content-length': '0', 'content-range': `bytes */${file.size}` };
      return put(address, { headers, body: '' });
    },
    send: (address, { start, end, body }) =>
      put(address, {
        headers: {
          'content-length': String(end - start),
          'content-range': `bytes ${start}-${end - 1}/${file.size}`,
        },
        body,
        // After a failure, ask what the service has before sending anything again.
        idempotent: false,
        stall: CLOSE_STALL,
        timeout: Number.POSITIVE_INFINITY,
      }),
  };
}

/** Reads `Range: bytes=0-<last byte>` of an incomplete upload; absent if nothing has arrived. */
function receivedOf(
  bucket: Bucket,
  session: string,
  reply: BufferedResponse,
): Received<string, StoredObject> {
  if (reply.status !== INCOMPLETE) return { done: toObject(reply.json(), bucket) };
  const { range } = reply.headers;
  if (range === undefined) return { session, offset: 0 };
  const last = /^(?:bytes=)?0-(\d{1,15})$/.exec(range)?.[1];
  if (last === undefined)
    throw new SregistryError(
      'SERVICE',
      `${bucket.target}: malformed Range of an upload (${range.slice(0, 60)})`,
    );
  return { session, offset: Number(last) + 1 };
}
