import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { expect, onTestFinished, test } from 'vitest';
import {
  createHttpClient,
  type HttpClient,
  type HttpSettings,
  type StreamOptions,
} from '../../src/backends/http.ts';
import { SregistryError } from '../../src/base/errors.ts';
import { type FaultServer, sendRange, startFaultServer } from '../servers/http-faults.ts';

const BYTES = Buffer.from(Array.from({ length: 200_000 }, (_, i) => (i * 7 + (i >> 8)) & 0xff));

async function serve(handler: Parameters<typeof startFaultServer>[0]): Promise<FaultServer> {
  const server = await startFaultServer(handler);
  onTestFinished(() => server.close());
  return server;
}

function client(settings: HttpSettings = {}): HttpClient {
  const http = createHttpClient({ env: {}, ...settings });
  onTestFinished(() => http.close());
  return http;
}

async function read(server: FaultServer, options: StreamOptions, settings?: HttpSettings): Promise<Buffer> {
  return buffer(await client(settings).stream(`${server.url}/blob`, options));
}

async function failure(promise: Promise<unknown>): Promise<SregistryError> {
  const error = await promise.then(
    () => undefined,
    (error) => error,
  );
  if (error instanceof SregistryError) return error;
  throw new Error(`expected a SregistryError, got ${error}`);
}

const ranges = (server: FaultServer) => server.requests.map(({ headers }) => headers.range);

test('a range is one request and exactly its bytes', async () => {
  const server = await serve((request, response) => sendRange(request, response, BYTES));
  expect(await read(server, { offset: 1000, length: 5000, total: BYTES.length })).toEqual(
    BYTES.subarray(1000, 6000),
  );
  expect(ranges(server)).toEqual(['bytes=1000-5999']);
});

test('without a length the stream runs to the end, and an empty range asks nothing', async () => {
  const server = await serve((request, response) => sendRange(request, response, BYTES));
  expect(await read(server, { offset: 150_000 })).toEqual(BYTES.subarray(150_000));
  expect(await read(server, {})).toEqual(BYTES);
  expect(await read(server, { offset: 5, length: 0 })).toEqual(Buffer.alloc(0));
  expect(ranges(server)).toEqual(['bytes=150000-', undefined]);
});

test('ranges read one after the other reuse connections', async () => {
  const server = await serve((request, response) => sendRange(request, response, BYTES));
  const http = client();
  for (let offset = 0; offset < BYTES.length; offset += 10_000)
    await buffer(await http.stream(`${server.url}/blob`, { offset, length: 10_000 }));
  expect(server.requests).toHaveLength(20);
  expect(server.connections()).toBeLessThanOrEqual(2);
});

test('a body that is cut again and again is continued where it broke', async () => {
  const server = await serve((request, response) =>
    sendRange(request, response, BYTES, { cutAfter: 30_000 }),
  );
  expect(await read(server, { offset: 10, length: 100_000 })).toEqual(BYTES.subarray(10, 100_010));
  expect(ranges(server).slice(0, 2)).toEqual(['bytes=10-100009', 'bytes=30010-100009']);
});

test('a stalled body is given up after the stall time and continued', async () => {
  const server = await serve((request, response, number) =>
    sendRange(request, response, BYTES, number === 1 ? { stallAfter: 50_000 } : {}),
  );
  expect(await read(server, { length: BYTES.length }, { stall: 200 })).toEqual(BYTES);
  expect(ranges(server)).toEqual(['bytes=0-199999', 'bytes=50000-199999']);
});

test('a transfer without progress ends within the deadline', async () => {
  const server = await serve((request, response) => sendRange(request, response, BYTES, { cutAfter: 0 }));
  const error = await failure(read(server, { length: 1000 }, { timeout: 1_000 }));
  expect(['UNREACHABLE', 'TIMED_OUT']).toContain(error.code);
});

test('a connection that breaks five times in a row without a byte is UNREACHABLE', async () => {
  const server = await serve((request, response, number) =>
    sendRange(request, response, BYTES, { cutAfter: number === 1 ? 500 : 0 }),
  );
  const error = await failure(read(server, { length: 1000 }));
  expect(error.code).toBe('UNREACHABLE');
  expect(server.requests).toHaveLength(6);
});

test('a shorter range than asked is completed with a further request', async () => {
  const server = await serve((request, response) => {
    const [start = 0, end = 0] = (request.headers.range ?? '').match(/\d+/g)?.map(Number) ?? [];
    const last = Math.min(end, start + 999);
    response.writeHead(206, { 'content-range': `bytes ${start}-${last}/${BYTES.length}` });
    response.end(BYTES.subarray(start, last + 1));
  });
  expect(await read(server, { offset: 100, length: 2500 })).toEqual(BYTES.subarray(100, 2600));
  expect(ranges(server)).toEqual(['bytes=100-2599', 'bytes=1100-2599', 'bytes=2100-2599']);
});

test.each([
  ['another start', 'bytes 5-14/200000'],
  ['a longer end', 'bytes 10-99/200000'],
  ['an end before its start', 'bytes 10-3/200000'],
  ['an end beyond the size', 'bytes 10-19/15'],
  ['nonsense', 'bytes ten'],
  ['nothing', undefined],
])('a Content-Range with %s is the error SERVICE', async (_, range) => {
  const server = await serve((_, response) => {
    response.writeHead(206, range === undefined ? {} : { 'content-range': range });
    response.end(Buffer.alloc(10));
  });
  expect((await failure(read(server, { offset: 10, length: 10 }))).code).toBe('SERVICE');
});

test('a server that ignores the range is skipped through where that is cheap', async () => {
  const server = await serve((_, response) => response.end(BYTES));
  expect(await read(server, { offset: 100_000, length: 50 })).toEqual(BYTES.subarray(100_000, 100_050));
});

test('a server that ignores a far range is the error SERVICE', async () => {
  const server = await serve((_, response) => response.end(BYTES));
  const error = await failure(read(server, { offset: 50_000_000, length: 50 }));
  expect(error).toMatchObject({ code: 'SERVICE', message: expect.stringContaining('ignored the range') });
});

test('another size than the known one is STALE', async () => {
  const server = await serve((request, response) => sendRange(request, response, BYTES));
  expect((await failure(read(server, { length: 10, total: 5 }))).code).toBe('STALE');
  expect((await failure(read(server, { offset: 900_000, length: 10 }))).code).toBe('STALE');
});

test('another entity tag than the one asked for is STALE, even where If-Match is ignored', async () => {
  const server = await serve((request, response) => sendRange(request, response, BYTES, { etag: '"new"' }));
  expect((await failure(read(server, { length: 10, ifMatch: '"old"' }))).code).toBe('STALE');
  expect(server.requests[0]?.headers['if-match']).toBe('"old"');
  expect(await read(server, { length: 10, ifMatch: '"new"' })).toHaveLength(10);
});

test('a weak entity tag is compared here, as no service may let it fulfil If-Match', async () => {
  const server = await serve((request, response) => sendRange(request, response, BYTES, { etag: 'W/"new"' }));
  expect((await failure(read(server, { length: 10, ifMatch: 'W/"old"' }))).code).toBe('STALE');
  expect(await read(server, { length: 10, ifMatch: 'W/"new"' })).toHaveLength(10);
  expect(server.requests.map(({ headers }) => headers['if-match'])).toEqual([undefined, undefined]);
});

test('without an entity tag another time of modification is STALE, even where its condition is ignored', async () => {
  const [before, now] = ['Tue, 15 Nov 1994 12:45:26 GMT', 'Wed, 16 Nov 1994 12:45:26 GMT'];
  const server = await serve((request, response) => {
    response.setHeader('last-modified', now);
    sendRange(request, response, BYTES);
  });
  expect((await failure(read(server, { length: 10, ifUnmodifiedSince: before }))).code).toBe('STALE');
  expect(server.requests[0]?.headers['if-unmodified-since']).toBe(before);
  expect(await read(server, { length: 10, ifUnmodifiedSince: now })).toHaveLength(10);
});

test('a stream that began by the time goes on by it: Ceph compares another entity tag than it states', async () => {
  const modified = 'Sat, 31 Jan 2026 12:00:00 GMT';
  let isReplaced = false;
  const server = await serve((request, response, number) => {
    response.setHeader('last-modified', modified);
    if (request.headers['if-match'] !== undefined) response.writeHead(412).end();
    else
      sendRange(request, response, BYTES, {
        etag: isReplaced ? '"2"' : '"1"',
        ...(number % 2 === 1 && { cutAfter: 1000 }),
      });
  });
  expect(await read(server, { length: 5000, ifUnmodifiedSince: modified })).toEqual(BYTES.subarray(0, 5000));
  expect(server.requests.map(({ headers }) => headers['if-unmodified-since'])).toEqual([modified, modified]);
  const stream = await client().stream(`${server.url}/blob`, { length: 5000, ifUnmodifiedSince: modified });
  isReplaced = true;
  expect((await failure(buffer(stream))).code).toBe('STALE');
});

test('bytes of two revisions are never mixed: a replaced resource ends the stream with STALE', async () => {
  const server = await serve((request, response, number) =>
    sendRange(request, response, BYTES, {
      etag: `"${number}"`,
      ...(number === 1 ? { cutAfter: 30_000 } : {}),
    }),
  );
  expect((await failure(read(server, { length: 100_000 }))).code).toBe('STALE');
});

test('bytes that come compressed are refused', async () => {
  const server = await serve((_, response) => {
    response.writeHead(206, { 'content-encoding': 'gzip', 'content-range': 'bytes 0-9/10' });
    response.end(Buffer.alloc(10));
  });
  expect((await failure(read(server, { length: 10 }))).code).toBe('SERVICE');
  expect(server.requests[0]?.headers['accept-encoding']).toBe('identity');
});

test('destroying a stream ends its request, also while it waits for bytes', async () => {
  let closed: Promise<unknown> | undefined;
  const server = await serve((request, response) => {
    closed = once(request.socket, 'close');
    sendRange(request, response, BYTES, { stallAfter: 1000 });
  });
  const stream: Readable = await client().stream(`${server.url}/blob`, { length: 5000 });
  await once(stream, 'readable');
  stream.read();
  stream.destroy();
  await closed;
  expect(stream.destroyed).toBe(true);
});

test('an aborted signal ends a stream with CANCELED', async () => {
  const controller = new AbortController();
  const server = await serve((request, response) =>
    sendRange(request, response, BYTES, { stallAfter: 1000 }),
  );
  const stream = await client().stream(`${server.url}/blob`, { length: 5000, signal: controller.signal });
  stream.once('data', () => controller.abort());
  expect((await failure(buffer(stream))).code).toBe('CANCELED');
});

test('a reader that pauses longer than the stall time loses nothing', async () => {
  const server = await serve((request, response) => sendRange(request, response, BYTES));
  const stream = await client({ stall: 100 }).stream(`${server.url}/blob`, { length: BYTES.length });
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  expect(await buffer(stream)).toEqual(BYTES);
  expect(server.requests).toHaveLength(1);
});

test('a remembered redirect is used again, without the service in between', async () => {
  const storage = await serve((request, response) => sendRange(request, response, BYTES));
  const server = await serve((_, response) =>
    response.writeHead(307, { location: `${storage.url}/presigned` }).end(),
  );
  const redirects = new Map<string, string>();
  await read(server, { length: 10, redirects });
  expect(await read(server, { offset: 10, length: 10, redirects })).toEqual(BYTES.subarray(10, 20));
  expect([server.requests.length, storage.requests.length]).toEqual([1, 2]);
});

test('a remembered redirect that has expired is asked for anew', async () => {
  const storage = await serve((request, response) =>
    request.url === '/expired' ? response.writeHead(403).end() : sendRange(request, response, BYTES),
  );
  const server = await serve((_, response) =>
    response.writeHead(307, { location: `${storage.url}/fresh` }).end(),
  );
  const redirects = new Map([[`${server.url}/blob`, `${storage.url}/expired`]]);
  expect(await read(server, { length: 10, redirects })).toEqual(BYTES.subarray(0, 10));
  expect(redirects.get(`${server.url}/blob`)).toBe(`${storage.url}/fresh`);
});
