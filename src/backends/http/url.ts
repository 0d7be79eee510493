/** What an URL is to the base client: something to show without its secrets, and an origin to trust or not. */

/** Origin and path only: user, password, query (presigned signatures, tokens) and fragment never reach a message. */
export function showUrl(url: URL): string {
  return `${url.origin}${url.pathname}`;
}

const LOOPBACK = /^(localhost|.*\.localhost|127(\.\d{1,3}){3}|\[::1\])$/;

/** Does the name mean this machine (RFC 6761 section 6.3, RFC 1122 section 3.2.1.3)? Takes `host` or `host:port`. */
export function isLoopback(host: string): boolean {
  return LOOPBACK.test(host.replace(/:\d+$/, '').toLowerCase());
}

/**
 * Everything but the unreserved characters of RFC 3986 (letters, digits, `- . _ ~`) as `%XX`, as signed addresses want it ("Create a
 * canonical request", UriEncode, Amazon S3; "Canonical requests", Cloud Storage).
 */
export function uriEncode(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}
