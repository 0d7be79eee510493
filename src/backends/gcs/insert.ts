/**
 * Objects that are stored with one request: metadata and content together (`uploadType=multipart`), and what all uploads have
 * in common (cloud.google.com/storage/docs/json_api/v1/objects/insert).
 */
import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import { isError, SregistryError } from '../../base/errors.ts';
import type { Reply } from '../http.ts';
import type { Bucket } from './bucket.ts';
import { type StoredObject, toObject } from './objects.ts';

/** The metadata of an object to be stored, in the API's own terms. */
export interface NewObject {
  readonly name: string;
  readonly contentType: string;
  readonly metadata: Readonly<Record<string, string>>;
  /** Base64; other bytes are refused. */
  readonly md5Hash?: string;
  readonly cacheControl?: string;
}

/** Content that can be opened again. */
export interface Content {
  /** Bytes. */
  readonly size: number;
  open(): Readable;
}

/** Where uploads go: beside the JSON API's own path. */
export const uploadPath = (bucket: Bucket) => `/upload${bucket.path('o')}`;

/** Query of an insertion. */
export function insertQuery(bucket: Bucket, object: NewObject, uploadType: string) {
  return { uploadType, name: object.name, ...(bucket.publishes && { predefinedAcl: 'publicRead' }) };
}

export async function insertObject(
  bucket: Bucket,
  object: NewObject,
  { size, open }: Content,
  signal?: AbortSignal,
): Promise<StoredObject> {
  // RFC 2387. Nothing may contain it, so nobody may know it beforehand.
  const boundary = randomUUID();
  const head = Buffer.from(
    `--${boundary}\r\ncontent-type: application/json; charset=UTF-8\r\n\r\n${JSON.stringify(object)}\r\n` +
      `--${boundary}\r\ncontent-type: ${object.contentType}\r\n\r\n`,
  );
  const tail = Buffer.from(`\r\n--${boundary}--`);
  const body = async function* () {
    yield head;
    yield* open();
    yield tail;
  };
  const reply = await inserted(
    bucket,
    bucket.request('POST', uploadPath(bucket), {
      query: insertQuery(bucket, object, 'multipart'),
      headers: {
        'content-type': `multipart/related; boundary=${boundary}`,
        'content-length': String(head.length + size + tail.length),
      },
      body: () => Readable.from(body(), { objectMode: false }),
      // The same bytes in the same place: done twice is as good as done once.
      idempotent: true,
      timeout: Number.POSITIVE_INFINITY,
      signal,
    }),
  );
  return toObject(reply.json(), bucket);
}

/** What a refused insertion means. */
export async function inserted(bucket: Bucket, request: Promise<Reply>): Promise<Reply> {
  try {
    return await request;
  } catch (error) {
    if (!isError(error)) throw error;
    if (error.code === 'NOT_FOUND') throw bucket.noSuchBucket(error);
    if (error.status === 400 && bucket.publishes && /uniform bucket-level|public access/i.test(error.message))
      throw new SregistryError(
        'SETTINGS',
        `${bucket.target} has one access rule for all of it: ${error.message}`,
        {
          hint:
            `gcloud storage buckets add-iam-policy-binding gs://${bucket.name} --member=allUsers ` +
            '--role=roles/storage.objectViewer publishes all of it; then set private=yes here',
          cause: error,
        },
      );
    throw error;
  }
}
