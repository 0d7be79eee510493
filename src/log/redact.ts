/**
 * Keeps secrets out of everything that is printed, in two ways: values that were registered (a password from the
 * secrets file) are replaced wherever they stand, and so is what has the form of a credential in HTTP: headers that
 * carry one, bearer and basic tokens, the user part of a URL, signatures of presigned URLs, tokens in JSON.
 */

const MASK = '***';

/** A shorter value would blank out half of every line, and protects nothing. */
const SHORTEST_SECRET = 4;

/** Every spelling of a registered value, and the time in ms at which it may be forgotten. */
const registered = new Map<string, number>();
let longestFirst: string[] = [];

/**
 * From now on `value` is replaced in what is printed; so are its URL-encoded and JSON-escaped spellings. Values of less than
 * 4 characters are ignored.
 *
 * `lifetime`: seconds after which the value is worthless and may be forgotten. Give it for tokens that a service
 * hands out by the minute, so that a mount that lives for months does not keep them all.
 */
export function registerSecret(value: string, lifetime = Number.POSITIVE_INFINITY): void {
  const now = Date.now();
  const expires = now + lifetime * 1000;
  for (const [known, end] of registered) if (end < now) registered.delete(known);
  for (const spelling of [
    value,
    encodeURIComponent(value.toWellFormed()),
    JSON.stringify(value).slice(1, -1),
  ]) {
    if (spelling.length < SHORTEST_SECRET) continue;
    registered.set(spelling, Math.max(expires, registered.get(spelling) ?? 0));
  }
  longestFirst = [...registered.keys()].sort((a, b) => b.length - a.length);
}

/** `text` without registered secrets, all else as it is: for output that was asked for, such as a presigned link. */
export function redactRegistered(text: string): string {
  let result = text;
  for (const secret of longestFirst) result = result.replaceAll(secret, MASK);
  return result;
}

/**
 * What looks like a credential, and what to put in its place. Each is linear in the length of the text.
 * `Bearer realm=...` (a challenge, RFC 6750) and prose such as "Basic authentication" stay readable.
 */
const CREDENTIALS: readonly (readonly [RegExp, string])[] = [
  [
    /\b((?:proxy-)?authorization|private-token|x-(?:auth|subject|vault)-token|x-amz-security-token|(?:set-)?cookie)(["']?[ \t]*:[ \t]*)(?:"(?:[^"\\]|\\.)*"|'[^']*'|[^\r\n]+)/gi,
    `$1$2${MASK}`,
  ],
  [
    /\b(Bearer|bearer|BEARER|Basic|BASIC) +(?!(?:auth|authentication|authorization|tokens?|login|credentials?|challenge|scheme)\b|realm=)[\w.~+/=-]{4,}/g,
    `$1 ${MASK}`,
  ],
  // Only where user parts are in use: in `docker://ubuntu:22.04@sha256:...` the `@` begins a version.
  [/((?:https?|wss?|ftps?|socks\w*|rediss?|postgres\w*):\/\/)[^\s/?#"'<>]*@/gi, `$1${MASK}@`],
  // Presigned URLs of S3 (v2, v4), Google and Azure; OAuth parameters (RFC 6749) in URLs and forms.
  [
    /(?<![\w-])((?:X-(?:Amz|Goog)-(?:Signature|Security-Token)|sig|signature|token|access_token|refresh_token|id_token|client_secret|password)=)[^&\s"'<>#;,)]+/gi,
    `$1${MASK}`,
  ],
  [
    /("(?:access_?token|refresh_?token|id_?token|identitytoken|registrytoken|token|password|client_secret|secret)"\s*:\s*)"(?:[^"\\]|\\.)*"/gi,
    `$1"${MASK}"`,
  ],
];

/** `text` with registered secrets and everything that looks like a credential replaced by `***`. */
export function redact(text: string): string {
  let result = redactRegistered(text);
  for (const [pattern, replacement] of CREDENTIALS) result = result.replace(pattern, replacement);
  return result;
}
