/**
 * Converts undici's error codes and HTTP statuses to {@link SregistryError} codes. No other file does. A message holds the method,
 * the URL without its query, the status, and the service's own words.
 */
import { STATUS_CODES } from 'node:http';
import { type ErrorCode, isError, SregistryError, systemCode } from '../../base/errors.ts';
import { formatSeconds } from './deadline.ts';
import { showUrl } from './url.ts';

/** The request an error is about. */
export interface Where {
  readonly method: string;
  readonly url: URL;
}

export function showRequest(where: Where): string {
  return `${where.method} ${showUrl(where.url)}`;
}

/** Codes of statuses; any other status becomes SERVICE (RFC 9110 section 15, RFC 6585, RFC 4918). */
const STATUS: Record<number, ErrorCode> = {
  401: 'UNAUTHORIZED',
  403: 'FORBIDDEN',
  404: 'NOT_FOUND',
  405: 'UNSUPPORTED',
  408: 'TIMED_OUT',
  409: 'BUSY',
  410: 'NOT_FOUND',
  412: 'STALE',
  416: 'STALE',
  423: 'BUSY',
  429: 'RATE_LIMITED',
  451: 'FORBIDDEN',
  501: 'UNSUPPORTED',
  507: 'NO_SPACE',
};

/** Hints by error code. */
export type Hints = Readonly<Partial<Record<ErrorCode, string>>>;

const HINTS: Hints = {
  UNAUTHORIZED: 'log in with `sregistry auth login`, or check the credentials',
  FORBIDDEN: 'your credentials do not permit this; ask the owner for access, or log in as another user',
  RATE_LIMITED: 'wait, or log in: services often allow more requests with an account',
};

/** The error for a status that means failure. `text` is the body, or its beginning. */
export function statusError(
  where: Where,
  status: number,
  headers: Readonly<Record<string, string>>,
  text: string,
  hints: Hints = {},
): SregistryError {
  const code = STATUS[status] ?? 'SERVICE';
  const reason = STATUS_CODES[status] ? ` ${STATUS_CODES[status]}` : '';
  const said = serviceWords(text);
  return new SregistryError(code, `${showRequest(where)}: ${status}${reason}${said ? `: ${said}` : ''}`, {
    hint: hints[code] ?? HINTS[code],
    status,
    retryAfter: parseRetryAfter(headers['retry-after']),
  });
}

/** `Retry-After` (RFC 9110 section 10.2.3) in milliseconds: seconds, or a date. */
export function parseRetryAfter(value: string | undefined, now = Date.now()): number | undefined {
  if (value === undefined) return undefined;
  if (/^\d+$/.test(value)) return Number(value) * 1000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}

/** Characters of a service's own text that a message repeats. */
const WORDS_MAX = 300;

/**
 * The service's own words as one line without control characters: the message in the usual JSON error formats (distribution API,
 * OAuth, Google, plain `message`), else the text itself. Empty for an HTML page.
 */
export function serviceWords(text: string): string {
  const trimmed = text.trim();
  if (trimmed === '' || trimmed.startsWith('<')) return '';
  const words = trimmed.startsWith('{') ? wordsOfJson(trimmed) : trimmed;
  const line = words.replace(/[\p{Cc}\p{Cf}\s]+/gu, ' ').trim();
  return line.length > WORDS_MAX ? `${line.slice(0, WORDS_MAX)}...` : line;
}

function wordsOfJson(text: string): string {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return text;
  }
  const object = value as Record<string, unknown>;
  const list = Array.isArray(object.errors) ? object.errors : [object.error, object];
  const words = list.flatMap((item) => wordsOf(item)).filter(Boolean);
  return [...new Set(words)].join('; ') || text;
}

function wordsOf(item: unknown): string[] {
  if (typeof item === 'string') return [item];
  if (typeof item !== 'object' || item === null) return [];
  const { code, message, detail, details, error_description: description } = item as Record<string, unknown>;
  const said = [message, description, detail, details].find(
    (part) => typeof part === 'string' && part !== '',
  );
  if (typeof said === 'string') return [typeof code === 'string' ? `${said} (${code})` : said];
  return typeof code === 'string' ? [code] : [];
}

const NAME_UNKNOWN = new Set(['ENOTFOUND', 'EAI_AGAIN', 'EAI_NODATA', 'EAI_NONAME']);
const NOT_CONNECTED = new Set([
  ...NAME_UNKNOWN,
  'ECONNREFUSED',
  'EHOSTUNREACH',
  'EHOSTDOWN',
  'ENETUNREACH',
  'ENETDOWN',
  'UND_ERR_CONNECT_TIMEOUT',
]);
const STALLED = new Set(['UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_BODY_TIMEOUT']);
const TLS = /CERT|^ERR_TLS|^ERR_SSL|^EPROTO$|SIGNATURE|^UNABLE_TO|^UND_ERR_PRX_TLS$/;

/** The error for a failure below HTTP: name resolution, connection, TLS, a reset, a stall of `stall` milliseconds. */
export function networkError(where: Where, error: unknown, stall: number): SregistryError {
  if (isError(error)) return error;
  const code = transportCode(error);
  const what = showRequest(where);
  if (STALLED.has(code))
    return new SregistryError('TIMED_OUT', `${what}: received no data for ${formatSeconds(stall)}`, {
      cause: error,
    });
  if (TLS.test(code)) return tlsError(where, code, error);
  if (NAME_UNKNOWN.has(code)) return unreachable(`${what}: the host's name cannot be resolved`, error);
  if (code === 'ECONNREFUSED') return unreachable(`${what}: connection refused`, error);
  if (code === 'UND_ERR_CONNECT_TIMEOUT') return unreachable(`${what}: timed out while connecting`, error);
  if (code.startsWith('HPE_'))
    return new SregistryError('SERVICE', `${what}: the answer is not HTTP`, { cause: error });
  const header =
    code === 'UND_ERR_INVALID_ARG' && /^invalid (\S+) header/.exec(String((error as Error).message))?.[1];
  if (header)
    return new SregistryError('SETTINGS', `${what}: the header ${header} cannot hold its value`, {
      hint: 'check that the credentials have no line break, control character or letter beyond Latin-1',
      cause: error,
    });
  if (code === 'UND_ERR_INVALID_ARG') return new SregistryError('INTERNAL', what, { cause: error });
  return unreachable(`${what}: the connection broke`, error);
}

function unreachable(message: string, cause: unknown): SregistryError {
  return new SregistryError('UNREACHABLE', message, {
    hint: 'check the address, the network and the proxy settings',
    cause,
  });
}

function tlsError(where: Where, code: string, cause: unknown): SregistryError {
  const plain = code === 'ERR_SSL_WRONG_VERSION_NUMBER' || code === 'EPROTO';
  return new SregistryError('UNREACHABLE', `${showRequest(where)}: no trusted TLS connection (${code})`, {
    hint: plain
      ? `the service may speak plain http: set its address to http://${where.url.host}`
      : 'set NODE_EXTRA_CA_CERTS to the file of its CA; SREGISTRY_HTTPS_NOVERIFY=1 turns the check off',
    cause,
  });
}

/** The innermost transport code: undici wraps the socket's error, `autoSelectFamily` gathers several. */
function transportCode(error: unknown): string {
  const inner = error instanceof AggregateError ? error.errors[0] : (error as Error | undefined)?.cause;
  return (inner === undefined ? undefined : transportCode(inner)) || systemCode(error) || '';
}

/** Is it certain that the request never reached the service? Then even a POST can be sent again. */
export function neverSent(error: SregistryError): boolean {
  return error.code === 'UNREACHABLE' && NOT_CONNECTED.has(transportCode(error.cause));
}

/** Is a retry pointless? It is after an untrusted certificate, or if DNS says that the host does not exist. */
export function isPermanent(error: SregistryError): boolean {
  const code = transportCode(error.cause);
  return error.code === 'UNREACHABLE' && (TLS.test(code) || code === 'ENOTFOUND');
}
