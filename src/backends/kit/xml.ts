/** XML that services answer with, as plain objects of strings; a service is not trusted to send what its protocol says. */
import { XMLParser } from 'fast-xml-parser';

/** An element: its children by name, or its text. */
export type Element = string | readonly Element[] | { readonly [name: string]: Element | undefined };

/** Characters of an answer. S3's page of 1000 keys of 1024 bytes, each byte as `%XX`, is half of it. */
const LONGEST = 8 * 1024 * 1024;

const parser = new XMLParser({
  parseTagValue: false,
  htmlEntities: true,
  ignoreDeclaration: true,
  ignorePiTags: true,
  removeNSPrefix: true,
});

/** The element that a document is, if its name matches; undefined for what is no such document. */
export function parseDocument(text: string, names: RegExp): Element | undefined {
  // Document types are where entities that grow come from, and no service needs them.
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
