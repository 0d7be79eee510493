/** S3's XML documents: replies, failures and request bodies. */
import { XMLBuilder } from 'fast-xml-parser';
import { SregistryError } from '../../base/errors.ts';
import { type Element, parseDocument, textOf } from '../kit/xml.ts';

export { children, type Element, textOf } from '../kit/xml.ts';

const builder = new XMLBuilder();

/** How the names of root elements end; services disagree on the rest (`ListPartsResult`, `ListPartsResponse`). */
const DOCUMENT = /(Result|Response|Configuration)$/;

/** The root element of a document. Throws SERVICE if it is not one of S3; the message names `what`. */
export function parseXml(text: string, what: string): Element {
  const element = parseDocument(text, DOCUMENT);
  if (element !== undefined) return element;
  throw new SregistryError('SERVICE', `${what}: the reply is not from an S3 service`, {
    hint: 'check that the address is that of the service, not of its web page or a proxy',
  });
}

/** The text of a required element. Throws SERVICE if it is missing; the message names `what`. */
export function requiredText(document: string, name: string, what: string): string {
  const text = textOf(parseXml(document, what), name);
  if (text) return text;
  throw new SregistryError('SERVICE', `${what}: the reply has no ${name}`);
}

/** The `Error` element of a document; undefined if it is another document. */
export function parseFailure(text: string): Element | undefined {
  return text.includes('<Error') ? parseDocument(text, /^Error$/) : undefined;
}

export function toXml(root: string, content: object): string {
  return builder.build({ [root]: content });
}
