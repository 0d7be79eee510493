/**
 * Parses the answer to PROPFIND (RFC 4918 section 14.16) into the members of a collection. The server is not trusted: only the last
 * component of each URL is used, and only if the rest is the collection's own URL.
 */
import { SregistryError } from '../../base/errors.ts';
import { child, children, type Element, parseDocument, textOf } from '../kit/xml.ts';

export interface Member {
  readonly name: string;
  readonly isCollection: boolean;
  /** Bytes. */
  readonly size: number | undefined;
  /** As the server wrote it. */
  readonly modified: string | undefined;
  readonly etag: string | undefined;
}

/** @throws {SregistryError} SERVICE if the text is not a multistatus document. */
export function parseMembers(text: string, collection: URL): Member[] {
  const document = parseDocument(text, /^multistatus$/);
  if (document === undefined)
    throw new SregistryError('SERVICE', `${collection.href}: the answer is not from a WebDAV server`, {
      hint: 'check that base is the WebDAV address, not that of a web page',
    });
  return children(document, 'response').flatMap((response) => {
    const name = nameIn(collection, textOf(response, 'href'));
    return name === undefined ? [] : [toMember(name, response)];
  });
}

function toMember(name: string, response: Element): Member {
  const found = children(response, 'propstat').filter((one) => / 200\b/.test(textOf(one, 'status') ?? ''));
  const props = found.flatMap((one) => children(one, 'prop'));
  const property = (key: string) => props.map((one) => textOf(one, key)).find(Boolean);
  const length = property('getcontentlength') ?? '';
  return {
    name,
    isCollection: props.some((one) => child(child(one, 'resourcetype') ?? '', 'collection') !== undefined),
    size: /^\d{1,15}$/.test(length) ? Number(length) : undefined,
    modified: property('getlastmodified'),
    etag: property('getetag'),
  };
}

/** The name of a member directly in the collection. A server behind a TLS proxy may write http URLs, but the host must match. */
function nameIn(collection: URL, href: string | undefined): string | undefined {
  const url = URL.parse(href?.trim() ?? '', collection.href);
  if (url === null || url.host !== collection.host) return undefined;
  const [path, prefix] = [decoded(url), decoded(collection)];
  if (path === undefined || prefix === undefined || !path.startsWith(prefix)) return undefined;
  const name = path.slice(prefix.length).replace(/\/$/, '');
  return name === '' || name.includes('/') ? undefined : name;
}

/** The decoded path; servers differ in which characters they encode. */
function decoded({ pathname }: URL): string | undefined {
  try {
    return decodeURIComponent(pathname);
  } catch {
    return undefined;
  }
}
