/**
 * What a PROPFIND answers (RFC 4918 section 14.16), as members of the collection that was asked about. The server is not trusted:
 * of each address only the last name counts, and only if the rest of it is that collection's own address.
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

/** @throws {SregistryError} SERVICE where the text is no multistatus document. */
export function parseMembers(text: string, collection: URL): Member[] {
  const document = parseDocument(text, /^multistatus$/);
  if (document === undefined)
    throw new SregistryError('SERVICE', `${collection.href}: not the answer of a WebDAV server`, {
      hint: 'check that the address is that of WebDAV, and not of a web page',
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

/** The name of a member right below the collection. A server behind a proxy may take itself for plain http, but not for another host. */
function nameIn(collection: URL, href: string | undefined): string | undefined {
  const url = URL.parse(href?.trim() ?? '', collection.href);
  if (url === null || url.host !== collection.host) return undefined;
  const [path, prefix] = [decoded(url), decoded(collection)];
  if (path === undefined || prefix === undefined || !path.startsWith(prefix)) return undefined;
  const name = path.slice(prefix.length).replace(/\/$/, '');
  return name === '' || name.includes('/') ? undefined : name;
}

/** The path, as servers do not agree on which characters to encode. */
function decoded({ pathname }: URL): string | undefined {
  try {
    return decodeURIComponent(pathname);
  } catch {
    return undefined;
  }
}
