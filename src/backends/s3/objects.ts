/** The objects of a bucket, page by page ("ListObjectsV2", Amazon S3 API Reference). */
import type { Bucket } from './bucket.ts';
import { listPages } from './pages.ts';
import { children, type Element, textOf } from './xml.ts';

/** An object, as a listing tells. */
export interface ListedObject {
  readonly key: string;
  readonly size: number;
  readonly modified: Date;
  readonly etag: string;
}

export interface ListedPage {
  readonly objects: readonly ListedObject[];
  /** Keys up to the delimiter, that included. */
  readonly prefixes: readonly string[];
}

export interface ObjectQuery {
  readonly prefix?: string | undefined;
  readonly delimiter?: string | undefined;
  /** Only keys after this one, in the order of the alphabet. */
  readonly startAfter?: string | undefined;
  /** Most entries on a page. Default 1000, which is also the most that services give. */
  readonly size?: number | undefined;
}

export async function* listObjects(
  bucket: Bucket,
  { prefix, delimiter, startAfter, size = 1000 }: ObjectQuery,
  signal?: AbortSignal,
): AsyncGenerator<ListedPage> {
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
    yield {
      objects: children(page, 'Contents').flatMap((element) => toObject(element, decode)),
      prefixes: children(page, 'CommonPrefixes').map((element) => decode(textOf(element, 'Prefix') ?? '')),
    };
  }
}

function toObject(element: Element, decode: (text: string) => string): ListedObject[] {
  const key = decode(textOf(element, 'Key') ?? '');
  const size = Number(textOf(element, 'Size') ?? Number.NaN);
  const modified = new Date(textOf(element, 'LastModified') ?? Number.NaN);
  const etag = textOf(element, 'ETag');
  if (key === '' || etag === undefined || !Number.isSafeInteger(size) || Number.isNaN(modified.getTime()))
    return [];
  return [{ key, size, modified, etag }];
}

/**
 * Decodes the keys of a listing. They are asked for in the encoding of URLs, as XML cannot hold every character; services that do
 * not know that send them as they are, and say nothing of an encoding. What is malformed becomes `''`, which is no key.
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
