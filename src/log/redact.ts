/**
 * Keeps secrets out of all output. It replaces registered values (a password from the secrets file) wherever they occur. It also replaces
 * text that looks like a credential: headers that carry one, bearer and basic tokens, the user part of a URL, signatures of presigned
 * URLs, tokens in JSON.
 */

const MASK = '***';

/** Shortest secret to hide, in characters. A shorter value occurs in ordinary text, and protects nothing. */
const SHORTEST_SECRET = 4;

/** Every spelling of a registered value, and when it may be forgotten, in milliseconds since 1970. */
const registered = new Map<string, number>();
let longestFirst: string[] = [];

/**
 * Hides `value`, and its URL-encoded and JSON-escaped spellings, in all further output. Ignores values of less than 4 characters.
 *
 * `lifetime`: seconds until the value expires and may be forgotten. Pass it for short-lived tokens, so that a mount that runs for months
 * does not remember them all.
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

/** `text` with only registered secrets replaced, for results such as a presigned link. */
export function redactRegistered(text: string): string {
  let result = text;
  for (const secret of longestFirst) result = result.replaceAll(secret, MASK);
  return result;
}

/** Headers that carry a credential. */
const HEADERS = words`authorization proxy-authorization cookie set-cookie private-token x-auth-token x-subject-token
  x-vault-token x-amz-security-token`;

/** Parameters that carry a credential: of presigned URLs of S3 (v2 and v4), Google and Azure, and of OAuth (RFC 6749). */
const PARAMETERS = words`X-Amz-Signature X-Amz-Security-Token X-Goog-Signature sig signature token access_token
  refresh_token id_token client_secret password`;

/** Fields of JSON that carry a credential: answers of token services, Docker's logins. */
const FIELDS = words`token access_token accessToken refresh_token refreshToken id_token idToken identitytoken
  registrytoken client_secret password secret`;

/** Words that follow "Basic" and "Bearer" in prose and challenges (RFC 6750) and are not tokens. */
const NO_TOKENS = words`auth authentication authorization token tokens login credential credentials challenge scheme`;

/** Schemes whose URLs may have a user part. Not `docker`: in `docker://ubuntu:22.04@sha256:...`, the `@` begins a version. */
const SCHEMES = words`http https ws wss ftp ftps socks socks4 socks5 redis rediss postgres postgresql`;

function words(list: TemplateStringsArray): string {
  return list.join('').split(/\s+/).join('|');
}

const STRING = String.raw`"(?:[^"\\]|\\.)*"`;

/** Patterns of credentials and their replacements. Each takes time linear in the length of the text. */
const CREDENTIALS: readonly (readonly [RegExp, string])[] = [
  [
    new RegExp(String.raw`\b(${HEADERS})(["']?[ \t]*:[ \t]*)(?:${STRING}|'[^']*'|[^\r\n]+)`, 'gi'),
    `$1$2${MASK}`,
  ],
  [
    new RegExp(String.raw`\b(Bearer|bearer|Basic) +(?!(?:${NO_TOKENS})\b|realm=)[\w.~+/=-]{4,}`, 'g'),
    `$1 ${MASK}`,
  ],
  [new RegExp(String.raw`\b((?:${SCHEMES})://)[^\s/?#"'<>]*@`, 'gi'), `$1${MASK}@`],
  [new RegExp(String.raw`(?<![\w-])((?:${PARAMETERS})=)[^&\s"'<>#;,)]+`, 'gi'), `$1${MASK}`],
  [new RegExp(String.raw`("(?:${FIELDS})"\s*:\s*)${STRING}`, 'gi'), `$1"${MASK}"`],
];

/** `text` with registered secrets and everything that looks like a credential replaced by `***`. */
export function redact(text: string): string {
  let result = redactRegistered(text);
  for (const [pattern, replacement] of CREDENTIALS) result = result.replace(pattern, replacement);
  return result;
}
