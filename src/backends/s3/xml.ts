/** The XML that S3 speaks, as plain objects of strings; a service is not trusted to send what its protocol says. */
import { XMLBuilder, XMLParser } from 'fast-xml-parser';
import { SregistryError } from '../../base/errors.ts';

/** An element: its children by name, or its text. */
export type Element = string | readonly Element[] | { readonly [name: string]: Element | undefined };

/** Characters of an answer. A page of 1000 keys of 1024 bytes, each byte as `%XX`, is half of it. */
const LONGEST = 8 * 1024 * 1024;

const parser = new XMLParser({
  parseTagValue: false,
  htmlEntities: true,
  ignoreDeclaration: true,
  ignorePiTags: true,
});
const builder = new XMLBuilder();

/** How the names of documents end; services do not agree on the rest (`ListPartsResult`, `ListPartsResponse`). */
const DOCUMENT = /(Result|Response|Configuration)$/;

/** The element that a document is. What is no document of S3 is the error SERVICE; `what` is for its message. */
export function parseXml(text: string, what: string): Element {
  const element = documentOf(text, DOCUMENT);
  if (element !== undefined) return element;
  throw new SregistryError('SERVICE', `${what}: not the answer of an S3 service`, {
    hint: 'check that the address is that of the service, and not of its web page or a proxy',
  });
}

/** The failure that a document tells of; undefined where it is none. */
export function parseFailure(text: string): Element | undefined {
  return text.includes('<Error') ? documentOf(text, /^Error$/) : undefined;
}

function documentOf(text: string, names: RegExp): Element | undefined {
  // S3 has no document types; they are where entities that grow come from.
  if (text.length > LONGEST || /<!DOCTYPE/i.test(text)) return undefined;
  const root = Object.entries(tryParse(text)).find(([name]) => names.test(name));
  return root?.[1];
}

function tryParse(text: string): Record<string, Element> {
  try {
    // Validated, as an answer that was cut off would lack what is behind the cut.
    return parser.parse(text, true);
  } catch {
    return {};
  }
}

export function toXml(root: string, content: object): string {
  return builder.build({ [root]: content });
}

/** The first child of that name. */
export function child(element: Element, name: string): Element | undefined {
  return children(element, name)[0];
}

/** All children of that name. */
export function children(element: Element, name: string): readonly Element[] {
  if (typeof element === 'string' || Array.isArray(element)) return [];
  const found = (element as Record<string, Element>)[name];
  if (found === undefined) return [];
  return Array.isArray(found) ? found : [found];
}

/** The text of the first child of that name; undefined where it has none, or is not plain. */
export function textOf(element: Element, name: string): string | undefined {
  const found = child(element, name);
  return typeof found === 'string' ? found : undefined;
}
