/** Listings as S3 gives them: pages of at most 1000 entries, each naming where the next one begins. */
import { SregistryError } from '../../base/errors.ts';
import type { Bucket } from './bucket.ts';
import type { Query } from './place.ts';
import { type Element, parseXml, textOf } from './xml.ts';

export interface Listing {
  /** Of what; default: the bucket. */
  readonly key?: string | undefined;
  readonly query: Query;
  /** Parameters that say where a page begins. The answer names the next ones: `NextKeyMarker` for `key-marker`. */
  readonly next: readonly string[];
}

/** Pages after which a listing counts as endless: ten million keys. */
const MAX_PAGES = 10_000;

export async function* listPages(
  bucket: Bucket,
  { key = '', query, next }: Listing,
  signal?: AbortSignal,
): AsyncGenerator<Element> {
  let at: Query = {};
  for (let page = 0; page < MAX_PAGES; page++) {
    const reply = await bucket.request('GET', key, { query: { ...query, ...at }, signal });
    const element = parseXml(reply.text(), bucket.show(key));
    yield element;
    if (textOf(element, 'IsTruncated') !== 'true') return;
    const following = markers(element, next);
    if (JSON.stringify(following) === JSON.stringify(at)) break;
    at = following;
  }
  throw new SregistryError('SERVICE', `${bucket.show(key)}: a listing without an end`);
}

/** `continuation-token` is `NextContinuationToken` in the answer. */
function markers(element: Element, names: readonly string[]): Query {
  const camel = (name: string) =>
    name.replace(/(?:^|-)([a-z])/g, (_, letter: string) => letter.toUpperCase());
  return Object.fromEntries(names.map((name) => [name, textOf(element, `Next${camel(name)}`)]));
}
