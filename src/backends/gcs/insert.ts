/**
 * Stores objects (cloud.google.com/storage/docs/json_api/v1/objects/insert): a small one with one request that holds metadata and content
 * together (`uploadType=multipart`); large ones in a resumable session, which a POST with the metadata opens.
 */
import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import { isError, SregistryError } from '../../base/errors.ts';
import type { BufferedResponse, RequestOptions } from '../http.ts';
import { changedWhilePushed } from '../kit/changed.ts';
import { googleUpload } from '../kit/google-upload.ts';
import { type OrderedUpload, uploadInOrder } from '../kit/ordered-upload.ts';
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

/** A resumable session. */
function session(insertion: Insertion, file: SourceFile): OrderedUpload<string, StoredObject> {
  const { bucket, object, signal } = insertion;
  return googleUpload({
    what: bucket.show(object.name),
    file,
    // A session keeps the condition that it was opened with.
    identity: {
      target: bucket.target,
      object: object.name,
      md5: object.md5Hash,
      generation: insertion.ifAbsent ? '0' : undefined,
    },
    parse: (saved) => (typeof saved === 'string' && URL.canParse(saved) ? saved : undefined),
    open: async () => {
      const reply = await post(insertion, 'resumable', {
        headers: {
          'x-upload-content-type': object.contentType,
          'x-upload-content-length': String(file.size),
        },
        json: object,
      });
      const address = URL.parse(reply.headers.location ?? '', reply.url.href);
      if (address !== null) return address.href;
      throw new SregistryError('SERVICE', `${bucket.target}: an upload without a usable address`);
    },
    put: (address, options) => bucket.request('PUT', new URL(address), { ...options, signal }),
    toResult: (value) => toObject(value, bucket),
  });
}
