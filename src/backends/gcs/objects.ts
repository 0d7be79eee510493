/** The objects of a bucket as files of a store: the object resource of the JSON API (json_api/v1/objects). */
import { parseDate } from '../../base/date.ts';
import { isError, SregistryError } from '../../base/errors.ts';
import { toStrings } from '../../image/attributes.ts';
import type { BufferedResponse, RequestOptions } from '../http.ts';
import { unlessAbsent } from '../kit/absent.ts';
import { followPages } from '../kit/pages.ts';
import type { FileRef, Page, StoredFile } from '../kit/store.ts';
import type { Bucket } from './bucket.ts';

/** The generation names the revision: it changes with the content. */
export interface ObjectRef extends FileRef {
  readonly generation?: string;
}

export interface StoredObject extends StoredFile {
  readonly ref: ObjectRef;
  /** Base64. */
  readonly crc32c: string | undefined;
}

const FIELDS = 'name,size,generation,timeCreated,md5Hash,crc32c,contentEncoding,metadata';
/** Entries per page: the most that the service returns. */
const PAGE_SIZE = 1000;

/** The live object of a name, or one generation of it; undefined if it does not exist. */
export async function getObject(
  bucket: Bucket,
  { key, generation }: ObjectRef,
  signal?: AbortSignal,
): Promise<StoredObject | undefined> {
  const query = { fields: FIELDS, generation };
  const reply = await unlessAbsent(bucket.request('GET', bucket.objectPath(key), { query, signal }));
  return reply && toObject(reply.json(), bucket);
}

/** Yields pages of the objects whose names begin with `prefix`; with the delimiter `/`, only those directly in that folder. */
export function listObjects(
  bucket: Bucket,
  { prefix, delimiter }: { readonly prefix: string; readonly delimiter?: string },
  signal?: AbortSignal,
): AsyncGenerator<Page> {
  const fields = `items(${FIELDS}),prefixes,nextPageToken`;
  const query = { prefix: prefix || undefined, delimiter, fields, maxResults: PAGE_SIZE };
  return followPages<Page, string>(bucket.target, async (pageToken) => {
    const reply = await askListing(bucket, { ...query, pageToken }, signal);
    const { items = [], prefixes = [], nextPageToken } = (reply.json() ?? {}) as Record<string, unknown>;
    if (!Array.isArray(items) || !Array.isArray(prefixes)) throw malformed(bucket, 'listing');
    const paths = prefixes.filter((path) => typeof path === 'string' && path.startsWith(prefix));
    return {
      page: {
        files: items.map((item) => toObject(item, bucket)),
        folders: paths.map((path) => path.slice(prefix.length, -1)),
      },
      next: typeof nextPageToken === 'string' && nextPageToken !== '' ? nextPageToken : undefined,
    };
  });
}

/** A page of the bucket's listing. Throws SETTINGS if the bucket does not exist. */
export async function askListing(
  bucket: Bucket,
  query: RequestOptions['query'],
  signal?: AbortSignal,
): Promise<BufferedResponse> {
  try {
    return await bucket.request('GET', bucket.path('o'), { query, signal });
  } catch (error) {
    throw isError(error, 'NOT_FOUND') ? bucket.noSuchBucket(error) : error;
  }
}

/** The object in a reply. Throws SERVICE if it is malformed. */
export function toObject(value: unknown, bucket: Bucket): StoredObject {
  const given = (value ?? {}) as Record<string, unknown>;
  const { name: key, size, metadata } = given;
  const bytes = /^\d{1,15}$/.test(String(size)) ? Number(size) : undefined;
  const generation = String(given.generation);
  if (typeof key !== 'string' || bytes === undefined || !/^\d+$/.test(generation))
    throw malformed(bucket, 'object');
  const text = (field: string) =>
    typeof given[field] === 'string' && given[field] !== '' ? String(given[field]) : undefined;
  const md5 = text('md5Hash');
  const encoding = text('contentEncoding');
  const isEncoded = encoding !== undefined && encoding !== 'identity';
  return {
    key,
    size: bytes,
    modified: parseDate(text('timeCreated')),
    revision: generation,
    ref: { key, generation },
    metadata: toStrings(metadata),
    // A composite object has no MD5.
    md5: md5 && Buffer.from(md5, 'base64').toString('hex'),
    crc32c: text('crc32c'),
    ...(isEncoded && { unpresentable: `It is stored in the encoding ${encoding}` }),
  };
}

function malformed(bucket: Bucket, what: string): SregistryError {
  return new SregistryError('SERVICE', `${bucket.target}: the service sent a malformed ${what}`, {
    hint: 'check that the address is that of a JSON API',
  });
}
