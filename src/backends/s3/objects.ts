/**
 * The objects of a bucket as files of a store. HEAD describes one object; a listing ("ListObjectsV2", Amazon S3 API Reference)
 * describes many, with entity tags but without metadata and versions.
 */
import { parseDate } from '../../base/date.ts';
import { SregistryError } from '../../base/errors.ts';
import { isSize } from '../../settings/json.ts';
import type { Headers } from '../http.ts';
import { unlessAbsent } from '../kit/absent.ts';
import { followPages } from '../kit/pages.ts';
import type { Query } from '../kit/signed-address.ts';
import type { FileRef, ListedFile, Page, StoredFile } from '../kit/store.ts';
import type { Bucket } from './bucket.ts';
import { checksumOf, fromHeaders } from './metadata.ts';
import { children, type Element, parseXml, textOf } from './xml.ts';

/** Identifies a revision of an object. */
export interface ObjectRef extends FileRef {
  /** Entity tag of the revision, as the service writes it. */
  readonly etag?: string;
  /** Version of the revision, in a bucket that keeps versions. */
  readonly version?: string;
}

export interface StoredObject extends StoredFile {
  readonly ref: ObjectRef & { readonly etag: string };
}

/** What HEAD says about an object; undefined if it does not exist. */
export async function headObject(
  bucket: Bucket,
  key: string,
  query: { readonly versionId?: string | undefined },
  signal?: AbortSignal,
): Promise<StoredObject | undefined> {
  // Amazon sends its checksums only on request; other services may refuse the header.
  const headers = bucket.endpoint.isAmazon ? { 'x-amz-checksum-mode': 'ENABLED' } : {};
  const reply = await unlessAbsent(bucket.request('HEAD', key, { query, headers, signal }));
  return reply && toObject(bucket, key, reply.headers);
}

/** The object that a request has just made. Throws SERVICE if it does not exist. */
export async function madeObject(bucket: Bucket, key: string, signal?: AbortSignal): Promise<StoredObject> {
  const made = await headObject(bucket, key, {}, signal);
  if (made !== undefined) return made;
  throw new SregistryError('SERVICE', `${bucket.show(key)}: not found after it was stored`);
}

function toObject(bucket: Bucket, key: string, headers: Headers): StoredObject {
  const { etag } = headers;
  const size = Number(headers['content-length'] ?? Number.NaN);
  if (etag === undefined)
    throw new SregistryError('SERVICE', `${bucket.show(key)}: the reply has no ETag`, {
      hint: 'check that the address is that of an S3 service',
    });
  if (!Number.isSafeInteger(size))
    throw new SregistryError('SERVICE', `${bucket.show(key)}: the reply has no size`);
  // An object stored while the bucket kept no versions has no version, or the version `null`.
  const version = headers['x-amz-version-id'] === 'null' ? undefined : headers['x-amz-version-id'];
  return {
    key,
    size,
    modified: parseDate(headers['last-modified']),
    revision: version ?? opaque(etag),
    ref: { key, etag, ...(version && { version }) },
    metadata: fromHeaders(headers),
    digest: checksumOf(headers),
    ...(isArchived(headers) && {
      unpresentable: `it is archived (${headers['x-amz-storage-class']}); restore it first`,
    }),
  };
}

/** An entity tag without its quotes. */
export function opaque(etag: string): string {
  return etag.replace(/^W\//, '').replace(/^"(.*)"$/, '$1');
}

/** Classes whose objects cannot be read until they are restored ("Working with archived objects", Amazon S3 User Guide). */
function isArchived(headers: Headers): boolean {
  const isCold = /^(GLACIER|DEEP_ARCHIVE)$/.test(headers['x-amz-storage-class'] ?? '');
  return isCold && !/ongoing-request="false"/.test(headers['x-amz-restore'] ?? '');
}

interface Listing {
  /** What to list. Default: the bucket. */
  readonly key?: string | undefined;
  readonly query: Query;
  /** Parameters that say where a page begins. A page names the next ones: `NextKeyMarker` for `key-marker`. */
  readonly next: readonly string[];
}

/** Yields the pages of a listing: at most 1000 entries each. A page names where the next one begins. */
export function listPages(
  bucket: Bucket,
  { key = '', query, next }: Listing,
  signal?: AbortSignal,
): AsyncGenerator<Element> {
  return followPages<Element, Query>(bucket.show(key), async (at) => {
    const reply = await bucket.request('GET', key, { query: { ...query, ...at }, signal });
    const page = parseXml(reply.text(), bucket.show(key));
    return { page, next: textOf(page, 'IsTruncated') === 'true' ? markers(page, next) : undefined };
  });
}

/** `NextContinuationToken` in the reply becomes `continuation-token`. */
function markers(element: Element, names: readonly string[]): Query {
  const camel = (name: string) =>
    name.replace(/(?:^|-)([a-z])/g, (_, letter: string) => letter.toUpperCase());
  return Object.fromEntries(names.map((name) => [name, textOf(element, `Next${camel(name)}`)]));
}

interface ObjectQuery {
  readonly prefix: string;
  readonly delimiter?: string | undefined;
  /** Only keys after this one, in alphabetical order. */
  readonly startAfter?: string | undefined;
  /** Most entries on a page. Default 1000, the most that services return. */
  readonly size?: number | undefined;
}

export async function* listObjects(
  bucket: Bucket,
  { prefix, delimiter, startAfter, size = 1000 }: ObjectQuery,
  signal?: AbortSignal,
): AsyncGenerator<Page> {
  const query = {
    'list-type': 2,
    prefix: prefix || undefined,
    delimiter,
    'start-after': startAfter,
    'max-keys': size,
    'encoding-type': 'url',
  };
  for await (const page of listPages(bucket, { query, next: ['continuation-token'] }, signal)) {
    const decode = decoder(page);
    const paths = children(page, 'CommonPrefixes').map((element) => decode(textOf(element, 'Prefix') ?? ''));
    yield {
      files: children(page, 'Contents').flatMap((element) => toListed(element, decode)),
      folders: paths.filter((path) => path.startsWith(prefix)).map((path) => path.slice(prefix.length, -1)),
    };
  }
}

function toListed(element: Element, decode: (text: string) => string): ListedFile[] {
  const key = decode(textOf(element, 'Key') ?? '');
  const size = Number(textOf(element, 'Size') ?? Number.NaN);
  const modified = parseDate(textOf(element, 'LastModified'));
  const etag = textOf(element, 'ETag');
  if (key === '' || etag === undefined || !isSize(size) || modified === undefined) return [];
  return [{ key, size, modified, revision: opaque(etag), ref: { key, etag } }];
}

/**
 * Decodes the keys of a listing. We ask for URL encoding, as XML cannot hold every character. Services that do not support it
 * send plain keys and state no encoding. A malformed key becomes `''`, which no object has.
 */
function decoder(listing: Element): (text: string) => string {
  if (textOf(listing, 'EncodingType') !== 'url') return (text) => text;
  return (text) => {
    try {
      return decodeURIComponent(text.replaceAll('+', ' '));
    } catch {
      return '';
    }
  };
}
