/** The object resource of the JSON API, as far as images need it (json_api/v1/objects). */
import { isError, SregistryError } from '../../base/errors.ts';
import type { Bucket } from './bucket.ts';

export interface StoredObject {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** Changes with the content. */
  readonly generation: string;
  /** When this generation was made. */
  readonly created: Date | undefined;
  /** Base64, as the service has them; a composite object has no MD5. */
  readonly md5: string | undefined;
  readonly crc32c: string | undefined;
  readonly encoding: string | undefined;
  readonly metadata: Readonly<Record<string, string>>;
}

/** A page of a listing. */
export interface ObjectPage {
  readonly objects: readonly StoredObject[];
  /** Beginnings of names up to the delimiter, which is their last character. */
  readonly prefixes: readonly string[];
}

const FIELDS = 'name,size,generation,timeCreated,md5Hash,crc32c,contentEncoding,metadata';
/** Entries on a page: the most that the service gives. */
const PAGE_SIZE = 1000;
/** Pages after which a listing counts as endless: ten million names. */
const MAX_PAGES = 10_000;

/** The live object of that name, or one generation of it; undefined where there is none. */
export async function getObject(
  bucket: Bucket,
  name: string,
  { generation, signal }: { generation?: string | undefined; signal?: AbortSignal | undefined } = {},
): Promise<StoredObject | undefined> {
  try {
    const query = { fields: FIELDS, generation };
    const reply = await bucket.request('GET', bucket.objectPath(name), { query, signal });
    return toObject(reply.json(), bucket);
  } catch (error) {
    if (isError(error, 'NOT_FOUND')) return undefined;
    throw error;
  }
}

/** Pages of the objects whose names begin with `prefix`, as they are asked for. */
export async function* listObjects(
  bucket: Bucket,
  query: { readonly prefix?: string | undefined; readonly delimiter?: string | undefined },
  signal?: AbortSignal,
): AsyncGenerator<ObjectPage> {
  let pageToken: string | undefined;
  for (let page = 0; page < MAX_PAGES; page++) {
    const fields = `items(${FIELDS}),prefixes,nextPageToken`;
    const reply = await bucket
      .request('GET', bucket.path('o'), {
        query: { ...query, fields, maxResults: PAGE_SIZE, pageToken },
        signal,
      })
      .catch((error: unknown) => {
        throw isError(error, 'NOT_FOUND') ? bucket.noSuchBucket(error) : error;
      });
    const { items = [], prefixes = [], nextPageToken } = (reply.json() ?? {}) as Record<string, unknown>;
    if (!Array.isArray(items) || !Array.isArray(prefixes)) throw malformed(bucket, 'listing');
    yield {
      objects: items.map((item) => toObject(item, bucket)),
      prefixes: prefixes.filter((prefix) => typeof prefix === 'string'),
    };
    if (typeof nextPageToken !== 'string' || nextPageToken === '') return;
    if (nextPageToken === pageToken) break;
    pageToken = nextPageToken;
  }
  throw new SregistryError('SERVICE', `${bucket.target}: a listing without an end`);
}

/** The object that a request answers with. */
export function toObject(value: unknown, bucket: Bucket): StoredObject {
  const given = (value ?? {}) as Record<string, unknown>;
  const { name, size, generation, metadata } = given;
  const bytes = /^\d{1,15}$/.test(String(size)) ? Number(size) : undefined;
  if (typeof name !== 'string' || bytes === undefined || !/^\d+$/.test(String(generation)))
    throw malformed(bucket, 'object');
  const created = new Date(String(given.timeCreated));
  const text = (key: string) =>
    typeof given[key] === 'string' && given[key] !== '' ? String(given[key]) : undefined;
  return {
    name,
    size: bytes,
    generation: String(generation),
    created: Number.isNaN(created.getTime()) ? undefined : created,
    md5: text('md5Hash'),
    crc32c: text('crc32c'),
    encoding: text('contentEncoding'),
    metadata: toStrings(metadata),
  };
}

function toStrings(value: unknown): Record<string, string> {
  const entries = Object.entries((value ?? {}) as Record<string, unknown>);
  return Object.fromEntries(
    entries.filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
  );
}

function malformed(bucket: Bucket, what: string): SregistryError {
  return new SregistryError('SERVICE', `${bucket.target}: a malformed ${what}`, {
    hint: 'check that the address is that of a JSON API',
  });
}
