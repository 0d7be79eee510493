/**
 * An HTTP server on a free loopback port whose behaviour is given by a test, request by request, and that records what
 * it was asked. With it come the faults of real services: resets, truncated and stalled bodies, wrong ranges.
 */
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Recorded {
  readonly method: string;
  /** Path and query. */
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
}

export interface FaultServer extends AsyncDisposable {
  /** `http://127.0.0.1:<port>` */
  readonly url: string;
  readonly requests: Recorded[];
  /** Connections made so far. */
  connections(): number;
  close(): Promise<void>;
}

/** `handler` gets the number of the request, counted from 1. */
export async function startFaultServer(
  handler: (request: IncomingMessage, response: ServerResponse, number: number) => void,
): Promise<FaultServer> {
  const requests: Recorded[] = [];
  const listener: RequestListener = (request, response) => {
    requests.push({ method: request.method ?? '', url: request.url ?? '', headers: request.headers });
    handler(request, response, requests.length);
  };
  const server = createServer(listener);
  let connections = 0;
  server.on('connection', () => connections++);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const close = async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    connections: () => connections,
    close,
    [Symbol.asyncDispose]: close,
  };
}

export interface RangeFaults {
  /** Destroy the connection after so many bytes of the body. */
  readonly cutAfter?: number;
  /** Send no more after so many bytes of the body. */
  readonly stallAfter?: number;
  readonly etag?: string;
}

/** Answers a ranged GET of `bytes` as RFC 9110 says, then fails as told. */
export function sendRange(
  request: IncomingMessage,
  response: ServerResponse,
  bytes: Buffer,
  { cutAfter, stallAfter, etag }: RangeFaults = {},
): void {
  const match = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
  const start = match ? Number(match[1]) : 0;
  const end = Math.min(match?.[2] ? Number(match[2]) : bytes.length - 1, bytes.length - 1);
  if (start > end) {
    response.writeHead(416).end();
    return;
  }
  const body = bytes.subarray(start, end + 1);
  response.writeHead(match ? 206 : 200, {
    'content-length': body.length,
    ...(match ? { 'content-range': `bytes ${start}-${end}/${bytes.length}` } : {}),
    ...(etag === undefined ? {} : { etag }),
  });
  const stop = cutAfter ?? stallAfter;
  if (stop === undefined) {
    response.end(body);
    return;
  }
  response.write(body.subarray(0, stop), () => {
    if (cutAfter !== undefined) response.socket?.destroy();
  });
}
