/** The documents that S3 speaks in: its answers, its failures, and what it is sent. */
import { XMLBuilder } from 'fast-xml-parser';
import { SregistryError } from '../../base/errors.ts';
import { type Element, parseDocument, textOf } from '../kit/xml.ts';

export { children, type Element, textOf } from '../kit/xml.ts';

const builder = new XMLBuilder();

/** How the names of documents end; services do not agree on the rest (`ListPartsResult`, `ListPartsResponse`). */
const DOCUMENT = /(Result|Response|Configuration)$/;

/** The element that a document is. What is no document of S3 is the error SERVICE; `what` is for its message. */
export function parseXml(text: string, what: string): Element {
  const element = parseDocument(text, DOCUMENT);
  if (element !== undefined) return element;
  throw new SregistryError('SERVICE', `${what}: not the answer of an S3 service`, {
    hint: 'check that the address is that of the service, and not of its web page or a proxy',
  });
}

/** The text of an element that a document has to have. SERVICE where it has none; `what` is for its message. */
export function requiredText(document: string, name: string, what: string): string {
  const text = textOf(parseXml(document, what), name);
  if (text) return text;
  throw new SregistryError('SERVICE', `${what}: an answer without ${name}`);
}

/** The failure that a document tells of; undefined where it is none. */
export function parseFailure(text: string): Element | undefined {
  return text.includes('<Error') ? parseDocument(text, /^Error$/) : undefined;
}

export function toXml(root: string, content: object): string {
  return builder.build({ [root]: content });
}
