/**
 * One request, from sending it to receiving the headers of the final answer. It adds credentials, renews them once after a 401, and
 * follows redirects. It does not retry.
 *
 * Credentials go to trusted origins only (the service's own). Each hop asks for them again, so a redirect cannot carry them to
 * another origin. Of the caller's `headers`, only a short list of headers about the content crosses to another origin, so a custom
 * credential header stays behind as well.
 *
 * Getting credentials may involve a program, a token service or a library that never answers. The wait for them ends when the
 * request's signal fires; whatever can be aborted gets the signal.
 */
import type { Readable } from 'node:stream';
import { type Dispatcher, request as send } from 'undici';
import { untilAborted } from '../../base/abort.ts';
import { SregistryError } from '../../base/errors.ts';
import { debugLog } from '../../log/debug.ts';
import { type Hints, networkError, showRequest } from './errors.ts';
import { isLoopback, showUrl } from './url.ts';

const debug = debugLog('http');

/** Maximum number of redirects for one request. */
const MAX_REDIRECTS = 5;
/**
 * Bytes of a body to hold while its reader is busy. What has arrived is read as one chunk, so a busy process passes on few large
 * chunks instead of many small ones.
 */
const BODY_BUFFER = 512 * 1024;

export type Headers = Readonly<Record<string, string>>;

/** A body that can be sent again: bytes, or a function that opens a new stream. */
export type Body = string | Uint8Array | (() => Readable);

export interface Exchange {
  readonly method: string;
  readonly url: URL;
  readonly headers: Headers;
  readonly body?: Body | undefined;
  readonly signal: AbortSignal;
  /** Milliseconds without a byte after which the service counts as stalled. */
  readonly stall: number;
}

/** The head of an answer, and its unread body. */
export interface StreamingResponse {
  readonly status: number;
  /** Lower-case names; a repeated header's values joined by a comma. */
  readonly headers: Headers;
  /** Where the answer came from, after redirects. */
  readonly url: URL;
  /** The caller must read it to its end or destroy it. Its errors are undici's. */
  readonly body: Dispatcher.ResponseData['body'];
}

/** What the exchange needs to know about the service. */
export interface Service {
  readonly agent: Dispatcher;
  /** Sent to trusted origins. */
  readonly headers: Headers;
  readonly userAgent: string;
  /** May credentials go there? */
  trusts(url: URL): boolean;
  /** Returns the headers with the credentials for a request. Called for each attempt and each redirect, so it may sign the request. */
  authorize?: ((request: SignableRequest) => Promise<Headers> | Headers) | undefined;
  /** Hints by error code, where the driver knows better than the common hint. */
  readonly hints: Hints;
  /** Replaces the error for a status by a more precise one, if the service's answer says more than the status. */
  interpret?: ((error: SregistryError, answer: FailedResponse) => SregistryError) | undefined;
  /** Gets new credentials after a 401. Returns true if the request should be sent again. */
  updateToken?: ((response: Refusal) => Promise<boolean> | boolean) | undefined;
}

/** A request about to be sent, as `authorize` sees it. */
export interface SignableRequest {
  readonly method: string;
  readonly url: URL;
  /** The caller's headers. */
  readonly headers: Headers;
  /** Fires when nobody waits for the credentials any more. */
  readonly signal?: AbortSignal | undefined;
}

/** A failure, as `interpret` sees it. */
export interface FailedResponse {
  readonly method: string;
  readonly headers: Headers;
  /** The body, or its beginning. */
  readonly text: string;
}

/** A 401, as `updateToken` sees it. */
export interface Refusal {
  readonly status: number;
  readonly headers: Headers;
  readonly method: string;
  readonly url: URL;
  /** The headers that `authorize` returned for the request. */
  readonly credentials: Headers;
  /** Fires when nobody waits for new credentials any more. */
  readonly signal?: AbortSignal | undefined;
}

export async function exchange(service: Service, first: Exchange): Promise<StreamingResponse> {
  let hop = first;
  let renewed = false;
  for (let redirects = 0; ; ) {
    const trusted = service.trusts(hop.url);
    const credentials = trusted ? await credentialsFor(service, hop) : {};
    const answer = await sendOnce(service, hop, trusted ? { ...service.headers, ...credentials } : {});
    if (answer.status === 401 && !renewed && trusted) {
      renewed = true;
      if (await renews(service, hop, answer, credentials)) {
        await drain(answer, hop);
        continue;
      }
    }
    const target = redirectTarget(answer, hop);
    if (target === undefined) return answer;
    await drain(answer, hop);
    if (++redirects > MAX_REDIRECTS)
      throw refused(first.url, target, `more than ${MAX_REDIRECTS} redirects in a row`);
    hop = follow(hop, answer.status, target);
  }
}

async function credentialsFor(service: Service, hop: Exchange): Promise<Headers> {
  if (service.authorize === undefined) return {};
  return await untilAborted(service.authorize(hop), hop.signal);
}

/** Renews the credentials; true if the request should be sent again with the new ones. */
async function renews(
  service: Service,
  hop: Exchange,
  answer: StreamingResponse,
  credentials: Headers,
): Promise<boolean> {
  if (service.updateToken === undefined) return false;
  const { status, headers, body } = answer;
  const { method, url, signal } = hop;
  try {
    return await untilAborted(
      service.updateToken({ status, headers, method, url, credentials, signal }),
      signal,
    );
  } catch (error) {
    body.destroy();
    throw error;
  }
}

async function sendOnce(service: Service, hop: Exchange, credentials: Headers): Promise<StreamingResponse> {
  const started = performance.now();
  try {
    const { statusCode, headers, body } = await send(hop.url, {
      dispatcher: service.agent,
      method: hop.method as Dispatcher.HttpMethod,
      headers: { 'user-agent': service.userAgent, ...credentials, ...hop.headers },
      body: (typeof hop.body === 'function' ? hop.body() : hop.body) ?? null,
      signal: hop.signal,
      headersTimeout: hop.stall,
      bodyTimeout: hop.stall,
      highWaterMark: BODY_BUFFER,
    });
    // A destroyed body emits one more error; without a listener, that error would end the process. A reader still gets its errors.
    body.on('error', () => {});
    debug('%s %d %d ms', showRequest(hop), statusCode, Math.round(performance.now() - started));
    return { status: statusCode, headers: flatten(headers), url: hop.url, body };
  } catch (error) {
    if (hop.signal.aborted) throw error;
    debug('%s failed: %o', showRequest(hop), error);
    throw networkError(hop, error, hop.stall);
  }
}

function flatten(headers: Record<string, string | string[] | undefined>): Headers {
  const flat: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined) flat[name] = Array.isArray(value) ? value.join(', ') : value;
  }
  return flat;
}

/** Discards a body so that its connection can be reused; closes the connection if the body is large. */
async function drain(answer: StreamingResponse, { signal }: Exchange): Promise<void> {
  await answer.body.dump({ limit: 128 * 1024, signal }).catch(() => {});
}

/** The target of a redirect; undefined if the answer is not one. */
function redirectTarget(answer: StreamingResponse, hop: Exchange): URL | undefined {
  const location = answer.headers.location;
  if (location === undefined || !isRedirect(answer.status, hop.method)) return undefined;
  if (!URL.canParse(location, hop.url.href)) throw refused(hop.url, undefined, 'the address is malformed');
  const target = new URL(location, hop.url);
  if (target.protocol !== 'https:' && target.protocol !== 'http:')
    throw refused(hop.url, target, 'it is not an http address');
  const downgrade = hop.url.protocol === 'https:' && target.protocol === 'http:';
  if (downgrade && !(isLoopback(hop.url.host) && isLoopback(target.host)))
    throw refused(hop.url, target, 'it leads from https to plain http');
  if (target.origin !== hop.url.origin && hop.body !== undefined)
    throw refused(hop.url, target, 'the request has a body, which must not go to another origin');
  return target;
}

/** 307 and 308 keep the method. Older redirects turn a POST into a GET, which no API here intends (RFC 9110 section 15.4). */
function isRedirect(status: number, method: string): boolean {
  if (status === 307 || status === 308) return true;
  const reads = method === 'GET' || method === 'HEAD';
  return reads && (status === 301 || status === 302 || status === 303);
}

/** Request headers about the content, which may follow a redirect to another origin. */
const PORTABLE = new Set([
  'accept',
  'accept-encoding',
  'accept-language',
  'if-match',
  'if-modified-since',
  'if-none-match',
  'if-range',
  'if-unmodified-since',
  'range',
]);

function follow(hop: Exchange, status: number, target: URL): Exchange {
  debug('%s redirects (%d) to %s', showRequest(hop), status, showUrl(target));
  if (target.origin === hop.url.origin) return { ...hop, url: target };
  const portable = Object.entries(hop.headers).filter(([name]) => PORTABLE.has(name.toLowerCase()));
  return { ...hop, url: target, headers: Object.fromEntries(portable) };
}

function refused(from: URL, to: URL | undefined, why: string): SregistryError {
  const where = to ? ` to ${showUrl(to)}` : '';
  return new SregistryError('SERVICE', `${showUrl(from)}: redirect${where} refused: ${why}`);
}
