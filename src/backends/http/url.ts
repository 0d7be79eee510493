/** URLs: how to show one without its secrets, whether it means this machine, and how to encode its parts. */

/** The URL for messages: origin and path only, without user, password, query (signatures, tokens) and fragment. */
export function showUrl(url: URL): string {
  return `${url.origin}${url.pathname}`;
}

const LOOPBACK = /^(localhost|.*\.localhost|127(\.\d{1,3}){3}|\[::1\])$/;

/** Does `host` (or `host:port`) mean this machine (RFC 6761 section 6.3, RFC 1122 section 3.2.1.3)? */
export function isLoopback(host: string): boolean {
  return LOOPBACK.test(host.replace(/:\d+$/, '').toLowerCase());
}

/**
 * Encodes everything but the unreserved characters of RFC 3986 (letters, digits, `- . _ ~`) as `%XX`, as signed URLs require ("Create
 * a canonical request", UriEncode, Amazon S3; "Canonical requests", Cloud Storage).
 */
export function uriEncode(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}
