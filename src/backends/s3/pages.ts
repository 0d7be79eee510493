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

/** `continuation-token` is `NextContinuationToken` in the answer; keys among them come encoded, as asked for. */
function markers(element: Element, names: readonly string[]): Query {
  const decode = decoder(element);
  const found = names.map((name) => {
    const text = textOf(
      element,
      `Next${name.replace(/(?:^|-)([a-z])/g, (_, letter: string) => letter.toUpperCase())}`,
    );
    return [name, name.startsWith('key') && text !== undefined ? decode(text) : text] as const;
  });
  return Object.fromEntries(found);
}

/**
 * Decodes the keys of a listing. They are asked for in the encoding of URLs, as XML cannot hold every character; services that do
 * not know that send them as they are, and say nothing of an encoding. What is malformed becomes `''`, which is no key.
 */
export function decoder(listing: Element): (text: string) => string {
  if (textOf(listing, 'EncodingType') !== 'url') return (text) => text;
  return (text) => {
    try {
      return decodeURIComponent(text.replaceAll('+', ' '));
    } catch {
      return '';
    }
  };
}
