/**
 * The state that all requests of a client share, and two kinds of request: `open` streams the body, `complete` reads it into memory.
 * Both retry within the deadline and convert failures to SregistryErrors.
 */
import { abortError } from '../../base/abort.ts';
import { isError, SregistryError } from '../../base/errors.ts';
import { parseJson, readAll, readBeginning } from './body.ts';
import { type Deadline, startDeadline } from './deadline.ts';
import { networkError, showRequest, statusError, type Where } from './errors.ts';
import {
  type Body,
  type Exchange,
  exchange,
  type Headers,
  type Service,
  type StreamingResponse,
} from './exchange.ts';
import { withRetry } from './retry.ts';

export interface Transport extends Service {
  /** Base of relative URLs. */
  readonly base: URL | undefined;
  /** Milliseconds for a request with its retries. */
  readonly timeout: number;
  /** Milliseconds without a byte after which the service counts as stalled. */
  readonly stall: number;
}

export interface RequestOptions {
  readonly headers?: Headers | undefined;
  /** Added to the URL's own query; undefined values are left out. */
  readonly query?: Readonly<Record<string, string | number | undefined>> | undefined;
  readonly body?: Body | undefined;
  /** Sent as JSON, instead of `body`. */
  readonly json?: unknown;
  readonly signal?: AbortSignal | undefined;
  /** Statuses of 300 and above that are not an error for this request: `[404]`. */
  readonly allow?: readonly number[] | undefined;
  /** May the request be sent twice? Default: by its method (RFC 9110 section 9.2.2). */
  readonly idempotent?: boolean | undefined;
  /** Milliseconds without a byte after which this request counts as stalled. Default: the client's. */
  readonly stall?: number | undefined;
  /** Milliseconds for this request in total. Default: the client's. Infinity for a large body, so that only a stall ends it. */
  readonly timeout?: number | undefined;
}

/** A whole answer. */
export interface BufferedResponse {
  readonly status: number;
  /** Lower-case names; a repeated header's values joined by a comma. */
  readonly headers: Headers;
  /** URL of the answer, after redirects. */
  readonly url: URL;
  readonly bytes: Buffer;
  text(): string;
  /** Throws SERVICE if the body is not JSON. */
  json(): unknown;
}

/** Largest body to keep in memory, in bytes. */
const BODY_MAX = 32 * 1024 * 1024;
/** Bytes to read of a failure's body. */
const FAILURE_MAX = 16 * 1024;

const IDEMPOTENT = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'TRACE']);

export function resolveUrl(transport: Transport, url: string | URL, query?: RequestOptions['query']): URL {
  const base = transport.base?.href;
  const text = String(url);
  if (!URL.canParse(text, base))
    throw new SregistryError('SERVICE', `not a valid URL: ${text.slice(0, 200)}`);
  const resolved = new URL(text, base);
  if (resolved.protocol !== 'http:' && resolved.protocol !== 'https:')
    throw new SregistryError(
      'UNSUPPORTED',
      `${resolved.protocol}//${resolved.host}: only http and https are supported`,
    );
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== undefined) resolved.searchParams.set(name, String(value));
  }
  return resolved;
}

/** Sends a request and reads its whole answer into memory, at most 32 MiB. */
export async function complete(
  transport: Transport,
  method: string,
  url: string | URL,
  options: RequestOptions = {},
): Promise<BufferedResponse> {
  const where = { method, url: resolveUrl(transport, url, options.query) };
  const deadline = startDeadline(options.timeout ?? transport.timeout, showRequest(where), options.signal);
  const request = toExchange(transport, where, options, deadline.signal);
  try {
    return await withRetry(
      async () => {
        const answer = await attempt(transport, request, options.allow);
        return await toReply(answer, where, request);
      },
      { deadline, what: showRequest(where), idempotent: options.idempotent ?? IDEMPOTENT.has(method) },
    );
  } finally {
    deadline.clear();
  }
}

async function toReply(
  answer: StreamingResponse,
  where: Where,
  request: Exchange,
): Promise<BufferedResponse> {
  const bytes = await guard(() => readAll(answer.body, BODY_MAX, where), request);
  const text = () => bytes.toString();
  return {
    status: answer.status,
    headers: answer.headers,
    url: answer.url,
    bytes,
    text,
    json: () => parseJson(text(), where),
  };
}

/**
 * Sends a GET and resolves with the head of the answer; the caller streams the body. The deadline covers the head only: the caller
 * then clears it, and only a stall or the caller's own signal ends the body.
 */
export async function open(
  transport: Transport,
  url: URL,
  options: { headers: Headers; allow: readonly number[]; deadline: Deadline },
): Promise<StreamingResponse> {
  const where = { method: 'GET', url };
  const request = toExchange(transport, where, options, options.deadline.signal);
  return await withRetry(() => attempt(transport, request, options.allow), {
    deadline: options.deadline,
    what: showRequest(where),
    idempotent: true,
  });
}

function toExchange(
  transport: Transport,
  where: Where,
  options: RequestOptions,
  signal: AbortSignal,
): Exchange {
  const json = options.json === undefined ? undefined : JSON.stringify(options.json);
  return {
    ...where,
    headers: { ...(json === undefined ? {} : { 'content-type': 'application/json' }), ...options.headers },
    body: json ?? options.body,
    signal,
    stall: options.stall ?? transport.stall,
  };
}

async function attempt(
  transport: Transport,
  request: Exchange,
  allow: readonly number[] = [],
): Promise<StreamingResponse> {
  const answer = await guard(() => exchange(transport, request), request);
  if (answer.status < 300 || allow.includes(answer.status)) return answer;
  const text = await readBeginning(answer.body, FAILURE_MAX);
  const where = { method: request.method, url: answer.url };
  const error = statusError(where, answer.status, answer.headers, text, transport.hints);
  throw transport.interpret?.(error, { method: where.method, headers: answer.headers, text }) ?? error;
}

/** Runs a step of a request and converts any failure to a SregistryError. */
async function guard<T>(step: () => Promise<T>, request: Exchange): Promise<T> {
  try {
    return await step();
  } catch (error) {
    if (request.signal.aborted) throw abortError(request.signal, showRequest(request));
    throw isError(error) ? error : networkError(request, error, request.stall);
  }
}
