/**
 * One request, from the first byte sent to the headers of the answer that counts: credentials added where they belong,
 * renewed once after a 401, redirects followed. No retries here.
 *
 * Credentials go to trusted origins only (the service's own), and are asked for anew at every hop, so a redirect cannot
 * carry them away. What the caller put into `headers` crosses to another origin only if it is on a short list of headers
 * that are about the content, so that a custom credential header is safe as well.
 *
 * Getting credentials may take a program, a token service or a library that never answers. It is waited for only until the
 * request's signal fires; what can be aborted gets the signal.
 */
import type { Readable } from 'node:stream';
import { type Dispatcher, request as send } from 'undici';
import { untilAborted } from '../../base/abort.ts';
import { SregistryError } from '../../base/errors.ts';
import { debugLog } from '../../log/debug.ts';
import { type Hints, networkError, showRequest } from './errors.ts';
import { isLoopback, showUrl } from './url.ts';

const debug = debugLog('http');

/** Most redirects followed for one request. */
const MAX_REDIRECTS = 5;

export type Headers = Readonly<Record<string, string>>;

/** A body that can be sent again: bytes, or a function that opens the stream anew. */
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

/** The head of an answer, and its body yet to be read. */
export interface StreamingResponse {
  readonly status: number;
  /** Lower-case names; a repeated header's values joined by a comma. */
  readonly headers: Headers;
  /** Where the answer came from, after redirects. */
  readonly url: URL;
  /** To be read to its end or destroyed; its errors are the transport's own. */
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
  /** Headers with the credentials for this request: for each attempt and each redirect anew, so they may be a signature. */
  authorize?: ((request: SignableRequest) => Promise<Headers> | Headers) | undefined;
  /** What to do next after a failure of this kind, where the service knows better than the common hint. */
  readonly hints: Hints;
  /** Makes of the error for a status the one that the answer means, where the service says more than HTTP does. */
  interpret?: ((error: SregistryError, answer: FailedResponse) => SregistryError) | undefined;
  /** Gets new credentials after a 401. True if another try makes sense. */
  updateToken?: ((response: Refusal) => Promise<boolean> | boolean) | undefined;
}

/** A request about to be sent, as `authorize` sees it. */
export interface SignableRequest {
  readonly method: string;
  readonly url: URL;
  /** What the caller gave. */
  readonly headers: Headers;
  /** Nobody waits for the credentials once it has fired. */
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
  /** What `authorize` had given for the request. */
  readonly credentials: Headers;
  /** Nobody waits for new credentials once it has fired. */
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

/** Are there new credentials, with which the request is worth another try? */
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
    });
    // A body given up early errors once more, when nobody listens; while it is read, its reader gets the error as well.
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

/** Reads away a body that nobody wants, so that its connection can be used again; gives up on a large one. */
async function drain(answer: StreamingResponse, { signal }: Exchange): Promise<void> {
  await answer.body.dump({ limit: 128 * 1024, signal }).catch(() => {});
}

/** Where the answer sends us, or undefined where it is the answer itself. */
function redirectTarget(answer: StreamingResponse, hop: Exchange): URL | undefined {
  const location = answer.headers.location;
  if (location === undefined || !isRedirect(answer.status, hop.method)) return undefined;
  if (!URL.canParse(location, hop.url.href))
    throw refused(hop.url, undefined, 'the redirect goes to a malformed address');
  const target = new URL(location, hop.url);
  if (target.protocol !== 'https:' && target.protocol !== 'http:')
    throw refused(hop.url, target, 'not an http address');
  const downgrade = hop.url.protocol === 'https:' && target.protocol === 'http:';
  if (downgrade && !(isLoopback(hop.url.host) && isLoopback(target.host)))
    throw refused(hop.url, target, 'from https to plain http');
  if (target.origin !== hop.url.origin && hop.body !== undefined)
    throw refused(hop.url, target, 'a request with a body does not leave its origin');
  return target;
}

/** 307 and 308 keep the method; the older ones turn what is not a GET into one, which no API here means (RFC 9110, 15.4). */
function isRedirect(status: number, method: string): boolean {
  if (status === 307 || status === 308) return true;
  const reads = method === 'GET' || method === 'HEAD';
  return reads && (status === 301 || status === 302 || status === 303);
}

/** Request headers that are about the content and may follow a redirect to another origin. */
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
