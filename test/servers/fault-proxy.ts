/**
 * A reverse proxy that stands between a driver and a real service and spoils what it is told to spoil: the next
 * matching request gets a fault, all others pass as they are. So faults are tested on the answers the service
 * really gives. `Host` is passed on, so that the addresses and signatures of the service fit the proxy.
 *
 *     const proxy = await startFaultProxy(service.url);
 *     proxy.inject(answer(503), { times: 2 });
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse, request as send } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pipeline } from 'node:stream/promises';
import type { Recorded } from './http-faults.ts';

export interface ProxiedRequest extends Recorded {
  /** Milliseconds, as `performance.now()` gives them. */
  readonly at: number;
  /** Bytes of its body so far. */
  received: number;
}

/** What a fault may do with a request: answer it, break it, or let it pass changed. */
export type Fault = (request: IncomingMessage, response: ServerResponse, forward: Forward) => void;

/** Sends the request on to the service, and its answer back. */
export type Forward = (changes?: Changes) => void;

type Headers = IncomingMessage['headers'];
type Chunks = AsyncIterable<Buffer>;

export interface Changes {
  /** The body on its way to the service. */
  readonly upload?: (body: Chunks) => Chunks;
  /** Headers of the answer. */
  readonly headers?: (headers: Headers) => Headers;
  /** The body on its way back. */
  readonly download?: (body: Chunks, response: ServerResponse) => Chunks;
}

export interface InjectOptions {
  /** Requests that count; default: all. */
  readonly match?: ((request: IncomingMessage) => boolean) | undefined;
  /** How many of them get the fault; default 1. */
  readonly times?: number | undefined;
}

export interface FaultProxy extends AsyncDisposable {
  /** `http://127.0.0.1:<port>` */
  readonly url: string;
  /** All requests so far. */
  readonly requests: readonly ProxiedRequest[];
  /** Requests that are being answered. */
  active(): number;
  inject(fault: Fault, options?: InjectOptions): void;
  /** Takes back the faults that no request has met. */
  clear(): void;
  close(): Promise<void>;
}

export interface ProxyOptions {
  /** Changes the address of every request: to make a service's pages small, for one. */
  readonly rewrite?: ((url: URL) => void) | undefined;
  /** Requests that no fault meets: those of a token service at the service's own address. */
  readonly exempt?: ((request: IncomingMessage) => boolean) | undefined;
  /** Keep every request in `requests` (default true): for hours of them there is no room. */
  readonly record?: boolean | undefined;
}

/** Starts a proxy in front of `origin`, which is `http://host:port`. */
export async function startFaultProxy(origin: string, options: ProxyOptions = {}): Promise<FaultProxy> {
  const requests: ProxiedRequest[] = [];
  let faults: { fault: Fault; match: (request: IncomingMessage) => boolean; left: number }[] = [];
  let active = 0;

  const take = (request: IncomingMessage): Fault => {
    const found = options.exempt?.(request) ? undefined : faults.find(({ match }) => match(request));
    if (found === undefined) return (_request, _response, forward) => forward();
    found.left -= 1;
    faults = faults.filter(({ left }) => left > 0);
    return found.fault;
  };

  const server = await listen((request, response) => {
    const { method = '', url = '', headers } = request;
    const record = { method, url, headers, at: performance.now(), received: 0 };
    if (options.record !== false) requests.push(record);
    active += 1;
    response.on('close', () => {
      active -= 1;
    });
    const target = new URL(url, origin);
    options.rewrite?.(target);
    take(request)(request, response, ({ upload = same, ...changes } = {}) => {
      const counted = (body: Chunks) => upload(counting(body, (bytes) => (record.received += bytes)));
      pass({ request, response, target, headers }, { ...changes, upload: counted });
    });
  });
  return {
    ...server,
    requests,
    active: () => active,
    inject: (fault, { match = () => true, times = 1 } = {}) => {
      faults.push({ fault, match, left: times });
    },
    clear: () => {
      faults = [];
    },
  };
}

async function listen(handler: (request: IncomingMessage, response: ServerResponse) => void) {
  const server = createServer(handler);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const close = async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, close, [Symbol.asyncDispose]: close };
}

interface Passing {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly target: URL;
  /** To be sent to the target. */
  readonly headers: Headers;
}

function pass({ request, response, target, headers: sent }: Passing, changes: Changes): void {
  const { upload = same, headers = (unchanged) => unchanged, download = same } = changes;
  const onward = send(target, { method: request.method, headers: sent, agent: false });
  const fail = () => response.destroy();
  pipeline(upload(request), onward).catch(fail);
  onward.on('error', fail);
  onward.on('response', (reply) => {
    response.writeHead(reply.statusCode ?? 502, headers(reply.headers));
    response.flushHeaders();
    pipeline(download(reply, response), response).catch(fail);
  });
  response.on('close', () => onward.destroy());
}

const same = (body: Chunks): Chunks => body;

async function* counting(body: Chunks, count: (bytes: number) => void): Chunks {
  for await (const chunk of body) {
    count(chunk.length);
    yield chunk;
  }
}

/** This answer, instead of the service's. */
export function answer(status: number, headers: Record<string, string> = {}, body = ''): Fault {
  return (request, response) => {
    request.resume();
    response.writeHead(status, headers).end(request.method === 'HEAD' ? undefined : body);
  };
}

/** No answer at all. */
export const hang: Fault = (request) => {
  request.resume();
};

/** The connection is reset after so many bytes of the answer's body, and not before `released`. */
export function cutAfter(bytes: number, released?: Promise<unknown>): Fault {
  return (_request, _response, forward) =>
    forward({
      download: async function* (body, response) {
        yield* first(body, bytes);
        await released;
        response.socket?.resetAndDestroy();
      },
    });
}

/** Not a byte more after so many bytes of the answer's body, while the connection stays. */
export function stallAfter(bytes: number): Fault {
  return (_request, _response, forward) =>
    forward({
      download: async function* (body, response) {
        yield* first(body, bytes);
        await once(response, 'close');
      },
    });
}

/** A body that ends after so many bytes, as if that were all. */
export function truncateTo(bytes: number): Fault {
  return (_request, _response, forward) =>
    forward({
      headers: (headers) => ({ ...headers, 'content-length': String(bytes) }),
      download: (body) => first(body, bytes),
    });
}

/** A `Content-Range` that begins a byte later than the body does. */
export const shiftRange: Fault = (_request, _response, forward) =>
  forward({
    headers: ({ 'content-range': range, ...headers }) => ({
      ...headers,
      ...(range && { 'content-range': range.replace(/\d+(?=[-/])/g, (number) => `${Number(number) + 1}`) }),
    }),
  });

/** Bytes of a chunk in whose middle there is no frame of a form. */
const DAMAGED_CHUNK = 8192;

/** One byte of the request's body, not close to its ends, is another one when it reaches the service. */
export const damageUpload: Fault = (_request, _response, forward) =>
  forward({
    upload: async function* (body) {
      let isWhole = true;
      for await (const chunk of body) {
        const copy = Buffer.from(chunk);
        const middle = copy.length >> 1;
        if (isWhole && copy.length >= DAMAGED_CHUNK) {
          copy.writeUInt8(copy.readUInt8(middle) ^ 1, middle);
          isWhole = false;
        }
        yield copy;
      }
    },
  });

async function* first(body: Chunks, bytes: number): Chunks {
  let left = bytes;
  for await (const chunk of body) {
    yield chunk.subarray(0, left);
    left -= chunk.length;
    if (left <= 0) return;
  }
}

export interface Elsewhere extends AsyncDisposable {
  /** Sends a request here, where it gets the answer that the service gives to the request as it was. */
  readonly redirect: Fault;
  /** What arrived here. */
  readonly requests: readonly Recorded[];
}

/** Another origin, for a service to redirect to. */
export async function startElsewhere(): Promise<Elsewhere> {
  const requests: Recorded[] = [];
  const originals: IncomingMessage[] = [];
  const server = await listen((request, response) => {
    const { method = '', url = '', headers } = request;
    requests.push({ method, url, headers });
    const original = originals[Number(url.slice(1))];
    if (original === undefined) {
      response.writeHead(404).end();
      return;
    }
    const target = new URL(original.url ?? '', `http://${original.headers.host}`);
    pass({ request, response, target, headers: original.headers }, {});
  });
  return {
    requests,
    redirect: (request, response) => {
      request.resume();
      originals.push(request);
      response.writeHead(307, { location: `${server.url}/${originals.length - 1}` }).end();
    },
    [Symbol.asyncDispose]: server.close,
  };
}
