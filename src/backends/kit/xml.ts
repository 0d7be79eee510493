/** Parses XML answers into plain objects of strings. The answer may be malformed or hostile. */
import { XMLParser } from 'fast-xml-parser';

/** An element: its children by name, or its text. */
export type Element = string | readonly Element[] | { readonly [name: string]: Element | undefined };

/** Longest answer in characters: twice S3's largest page, which is 1000 keys of 1024 bytes, each byte written as `%XX`. */
const LONGEST = 8 * 1024 * 1024;

const parser = new XMLParser({
  parseTagValue: false,
  htmlEntities: true,
  ignoreDeclaration: true,
  ignorePiTags: true,
  removeNSPrefix: true,
});

/** The root element of a document if its name matches `names`; undefined otherwise. */
export function parseDocument(text: string, names: RegExp): Element | undefined {
  // Refuse document types: they can define entities that expand without limit, and no service needs them.
  if (text.length > LONGEST || /<!DOCTYPE/i.test(text)) return undefined;
  const root = Object.entries(tryParse(text)).find(([name]) => names.test(name));
  return root?.[1];
}

function tryParse(text: string): Record<string, Element> {
  try {
    // Validate: a truncated answer would otherwise silently lack its end.
    return parser.parse(text, true);
  } catch {
    return {};
  }
}

/** The first child with this name. */
export function child(element: Element, name: string): Element | undefined {
  return children(element, name)[0];
}

/** All children with this name. */
export function children(element: Element, name: string): readonly Element[] {
  if (typeof element === 'string' || Array.isArray(element)) return [];
  const found = (element as Record<string, Element>)[name];
  if (found === undefined) return [];
  return Array.isArray(found) ? found : [found];
}

/** The text of the first child with this name; undefined if there is no such child, or it has child elements. */
export function textOf(element: Element, name: string): string | undefined {
  const found = child(element, name);
  return typeof found === 'string' ? found : undefined;
}
