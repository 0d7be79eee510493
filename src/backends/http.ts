/**
 * The base client that the drivers share: get, post, put, delete, head, paginate, stream and download, over undici. It provides:
 *
 * - one connection pool per origin, and the proxies and CAs of the environment (http/agent.ts);
 * - credentials, renewed once after a 401 and never sent to another origin by a redirect (http/exchange.ts);
 * - retries with backoff within one deadline, for failures that a retry may fix (http/retry.ts);
 * - stall timeouts instead of total timeouts for bodies, and ranged streams that continue after a break (http/range.ts);
 * - SregistryErrors that name the request, the service, and the service's own words (http/errors.ts).
 */
import type { Readable } from 'node:stream';
import { parseBoolean } from '../base/boolean.ts';
import { SregistryError } from '../base/errors.ts';
import { version } from '../base/version.ts';
import { bot } from '../log/index.ts';
import { type Agent, createAgent } from './http/agent.ts';
import { type DownloadOptions, download } from './http/download.ts';
import type { Hints } from './http/errors.ts';
import type { Headers, Service } from './http/exchange.ts';
import { paginate } from './http/pages.ts';
import { openStream, type RangeStream, type StreamOptions } from './http/range.ts';
import { type BufferedResponse, complete, type RequestOptions, type Transport } from './http/transport.ts';

export type { DownloadOptions } from './http/download.ts';
export type { Body, FailedResponse, Headers, Refusal } from './http/exchange.ts';
export type { RangeStream, RedirectMemory, StreamOptions } from './http/range.ts';
export { NoRangesError } from './http/range-response.ts';
export { attemptsWorth } from './http/retry.ts';
export type { BufferedResponse, RequestOptions } from './http/transport.ts';
export { isLoopback, showUrl, uriEncode } from './http/url.ts';

export interface HttpSettings {
  /** Base of relative URLs. Its origin gets the credentials. */
  readonly base?: string | URL | undefined;
  /** Further origins that get the credentials, such as a service's upload host. */
  readonly origins?: readonly string[] | undefined;
  /** Sent with every request to those origins. */
  readonly headers?: Headers | undefined;
  /** Returns the headers with the credentials for one request to those origins. */
  readonly authorize?: Service['authorize'];
  /** Called once per request that got a 401 from those origins. Returns true to send the request again. */
  readonly updateToken?: Service['updateToken'];
  /** Hints by error code, where the driver knows better than the common hint: how to log in there. */
  readonly hints?: Hints | undefined;
  /** Replaces the error for a status by a more precise one, if the service's answer says more than the status. */
  readonly interpret?: Service['interpret'];
  readonly env?: NodeJS.ProcessEnv | undefined;
  /** Milliseconds for a request with its retries. Default: SREGISTRY_TIMEOUT (in seconds), else 120 s. */
  readonly timeout?: number | undefined;
  /** Milliseconds without a byte after which a transfer counts as stalled. Default: a quarter of `timeout`, at most 30 s. */
  readonly stall?: number | undefined;
}

/** All methods except `close` throw SregistryError: UNAUTHORIZED, NOT_FOUND, UNREACHABLE, TIMED_OUT, ... */
export interface HttpClient {
  get(url: string | URL, options?: RequestOptions): Promise<BufferedResponse>;
  head(url: string | URL, options?: RequestOptions): Promise<BufferedResponse>;
  post(url: string | URL, options?: RequestOptions): Promise<BufferedResponse>;
  put(url: string | URL, options?: RequestOptions): Promise<BufferedResponse>;
  patch(url: string | URL, options?: RequestOptions): Promise<BufferedResponse>;
  delete(url: string | URL, options?: RequestOptions): Promise<BufferedResponse>;
  /** Any other method. */
  request(method: string, url: string | URL, options?: RequestOptions): Promise<BufferedResponse>;
  /** The pages of a listing, which Link headers chain. */
  paginate(url: string | URL, options?: RequestOptions): AsyncIterable<BufferedResponse>;
  /** A stream of exactly the bytes of a range; it resumes after a broken transfer. Destroying the stream ends the request. */
  stream(url: string | URL, options?: StreamOptions): Promise<Readable>;
  /** Like `stream`, and tells the size of the whole resource. */
  open(url: string | URL, options?: StreamOptions): Promise<RangeStream>;
  /** Downloads to a file, which appears when it is whole. Returns its size in bytes. */
  download(url: string | URL, path: string, options?: DownloadOptions): Promise<number>;
  /** Makes so many connections to the service of `base` before requests need them. Sends nothing, and tells no failure. */
  warm(connections: number): void;
  /** Does the service answer a GET with success? */
  healthy(url: string | URL, signal?: AbortSignal): Promise<boolean>;
  /** Ends all connections. */
  close(): Promise<void>;
}

const DEFAULT_TIMEOUT = 120_000;
const DEFAULT_STALL = 30_000;
/** Part of the timeout after which silence counts as a stall; the rest is left for further attempts. */
const STALL_PART = 1 / 4;

export function createHttpClient(settings: HttpSettings = {}): HttpClient {
  const { agent, transport } = createTransport(settings);
  const request = (method: string, url: string | URL, options?: RequestOptions) =>
    complete(transport, method, url, options);
  return {
    request,
    get: (url, options) => request('GET', url, options),
    head: (url, options) => request('HEAD', url, options),
    post: (url, options) => request('POST', url, options),
    put: (url, options) => request('PUT', url, options),
    patch: (url, options) => request('PATCH', url, options),
    delete: (url, options) => request('DELETE', url, options),
    paginate: (url, options) => paginate(transport, url, options),
    stream: async (url, options) => (await openStream(transport, url, options)).body,
    open: (url, options) => openStream(transport, url, options),
    download: (url, path, options) => download(transport, url, path, options),
    healthy: (url, signal) =>
      request('GET', url, { signal }).then(
        () => true,
        () => false,
      ),
    warm: (connections) => {
      if (transport.base !== undefined) agent.warm(transport.base, connections);
    },
    close: () => agent.close(),
  };
}

function createTransport(settings: HttpSettings): { agent: Agent; transport: Transport } {
  const env = settings.env ?? process.env;
  const base = settings.base === undefined ? undefined : new URL(settings.base);
  const trusted = new Set(settings.origins);
  if (base) trusted.add(base.origin);
  const timeout = settings.timeout ?? timeoutOf(env);
  const agent = createAgent({ env, verify: verifies(env) });
  const transport: Transport = {
    agent: agent.dispatcher,
    base,
    headers: settings.headers ?? {},
    userAgent: `sregistry/${version}`,
    trusts: (url) => trusted.has(url.origin),
    authorize: settings.authorize,
    updateToken: settings.updateToken,
    hints: settings.hints ?? {},
    interpret: settings.interpret,
    timeout,
    stall: settings.stall ?? Math.min(DEFAULT_STALL, timeout * STALL_PART),
  };
  return { agent, transport };
}

function timeoutOf(env: NodeJS.ProcessEnv): number {
  const text = env.SREGISTRY_TIMEOUT;
  if (text === undefined || text === '') return DEFAULT_TIMEOUT;
  const seconds = Number(text);
  if (!(seconds > 0 && seconds <= 86_400))
    throw new SregistryError('SETTINGS', `SREGISTRY_TIMEOUT is not a number of seconds: ${text}`, {
      hint: 'set it to the seconds after which an operation fails, such as 120',
    });
  return seconds * 1000;
}

let warned = false;

/** `SREGISTRY_HTTPS_NOVERIFY`, the Python client's switch. */
function verifies(env: NodeJS.ProcessEnv): boolean {
  if (parseBoolean(env.SREGISTRY_HTTPS_NOVERIFY ?? '') !== true) return true;
  if (!warned)
    bot.warning(
      'SREGISTRY_HTTPS_NOVERIFY is set: sregistry does not verify https certificates. Use it for tests only.',
    );
  warned = true;
  return false;
}
