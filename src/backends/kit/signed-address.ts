/** Addresses as signatures of version 4 want them, which Amazon and Google have in common: the characters of {@link uriEncode}. */
import { uriEncode } from '../http.ts';

export type Query = Readonly<Record<string, string | number | undefined>>;

/** A key as it stands in a path. */
export function encodeKey(key: string): string {
  return key.split('/').map(uriEncode).join('/');
}

/** The parameters that are not undefined, in their order, without a question mark. */
export function encodeQuery(query: Query): string {
  return Object.entries(query)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${uriEncode(name)}=${uriEncode(String(value))}`)
    .join('&');
}
