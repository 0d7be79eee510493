import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { createServer as createProxy } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { nextPage } from '../../src/backends/http/pages.ts';
import { createHttpClient, type HttpClient, type HttpSettings } from '../../src/backends/http.ts';
import { SregistryError } from '../../src/base/errors.ts';
import { version } from '../../src/base/version.ts';
import { type FaultServer, sendRange, startFaultServer } from '../servers/http-faults.ts';

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

async function failure(promise: Promise<unknown>): Promise<SregistryError> {
  const error = await promise.then(
    () => undefined,
    (error) => error,
  );
  if (error instanceof SregistryError) return error;
  throw new Error(`expected a SregistryError, got ${error}`);
}

describe('requests', () => {
  test('a request says who asks, and its answer comes as bytes, text or JSON', async () => {
    const server = await serve((_, response) => response.end('{"a":[1]}'));
    const reply = await client({ base: server.url }).get('/x', { query: { n: 3, none: undefined } });
    expect(reply.json()).toEqual({ a: [1] });
    expect(reply.text()).toBe('{"a":[1]}');
    expect(server.requests[0]?.url).toBe('/x?n=3');
    expect(server.requests[0]?.headers['user-agent']).toBe(`sregistry/${version}`);
  });

  test.each(['a\nb', 'a\0', 'käse ✓'])(
    'a credential that no header can hold is a setting to be corrected',
    async (token) => {
      const server = await serve((_, response) => response.end());
      const http = client({ base: server.url, headers: { authorization: `Bearer ${token}` } });
      const error = await failure(http.get('/x'));
      expect(error).toMatchObject({ code: 'SETTINGS', message: expect.stringContaining('authorization') });
      expect(JSON.stringify([error.message, error.hint, String(error.cause)])).not.toContain(
        token.slice(0, 2),
      );
      expect(server.requests).toHaveLength(0);
    },
  );

  test('an object is sent as JSON', async () => {
    let body = '';
    const server = await serve(async (request, response) => {
      for await (const chunk of request) body += chunk;
      response.end();
    });
    await client().post(`${server.url}/x`, { json: { name: 'a' } });
    expect(body).toBe('{"name":"a"}');
    expect(server.requests[0]?.headers['content-type']).toBe('application/json');
  });

  test('JSON that is malformed or too long is the error SERVICE', async () => {
    const server = await serve((request, response) =>
      request.url === '/long'
        ? response.end(Buffer.alloc(32 * 1024 * 1024 + 1, 0x20))
        : response.end('<html>please log in</html>'),
    );
    const reply = await client({ base: server.url }).get('/login');
    expect(() => reply.json()).toThrow(/malformed JSON/);
    const long = await failure(client({ base: server.url }).get('/long'));
    expect(long).toMatchObject({ code: 'SERVICE', message: expect.stringContaining('longer than') });
  });

  test.each([
    [401, 'UNAUTHORIZED'],
    [403, 'FORBIDDEN'],
    [404, 'NOT_FOUND'],
    [409, 'BUSY'],
    [412, 'STALE'],
    [416, 'STALE'],
    [400, 'SERVICE'],
    [501, 'UNSUPPORTED'],
  ])('status %i is the error %s', async (status, code) => {
    const server = await serve((_, response) => response.writeHead(status).end('it said so'));
    const error = await failure(client().get(`${server.url}/a/b?signature=hidden`));
    expect(error).toMatchObject({ code, status });
    expect(error.message).toContain(`GET ${server.url}/a/b: ${status}`);
    expect(error.message).toContain('it said so');
    expect(error.message).not.toContain('hidden');
  });

  test('the words of a service are repeated as one bounded line, whatever shape they have', async () => {
    const bodies: Record<string, [string, string]> = {
      '/oci': ['{"errors":[{"code":"DENIED","message":"not you"}]}', 'not you (DENIED)'],
      '/oauth': ['{"error":"invalid_grant","error_description":"expired"}', 'invalid_grant; expired'],
      '/google': ['{"error":{"code":400,"message":"bad bucket"}}', 'bad bucket'],
      '/escape': ['a\u001b[31m\nb', 'a [31m b'],
      '/long': ['x'.repeat(5000), `${'x'.repeat(300)}...`],
    };
    const server = await serve((request, response) =>
      response.writeHead(400).end(bodies[request.url ?? '']?.[0]),
    );
    for (const [path, [, words]] of Object.entries(bodies)) {
      const error = await failure(client().get(server.url + path));
      expect(error.message).toBe(`GET ${server.url}${path}: 400 Bad Request: ${words}`);
    }
  });

  test('a status that is allowed is an answer', async () => {
    const server = await serve((_, response) => response.writeHead(404).end());
    expect((await client().get(server.url, { allow: [404] })).status).toBe(404);
  });

  test('healthy tells whether a GET succeeds', async () => {
    const server = await serve((request, response) =>
      response.writeHead(request.url === '/ok' ? 200 : 404).end(),
    );
    const http = client({ base: server.url });
    expect([await http.healthy('/ok'), await http.healthy('/no')]).toEqual([true, false]);
  });

  test('a refused connection and an unknown host are UNREACHABLE', async () => {
    const port = await new Promise<number>((resolve) => {
      const probe = createServer().listen(0, '127.0.0.1', () => {
        const { port } = probe.address() as AddressInfo;
        probe.close(() => resolve(port));
      });
    });
    const refused = await failure(client().get(`http://127.0.0.1:${port}/`));
    expect(refused).toMatchObject({ code: 'UNREACHABLE', message: expect.stringContaining('refused') });
    const unknown = await failure(client().get('http://nowhere.invalid/'));
    expect(unknown).toMatchObject({ code: 'UNREACHABLE', message: expect.stringContaining('name') });
  });

  test('proxies of the environment are used, but never for this machine itself', async () => {
    const server = await serve((_, response) => response.end('direct'));
    const proxied: string[] = [];
    const proxy = createProxy((request, response) => {
      proxied.push(request.url ?? '');
      response.end('proxied');
    });
    proxy.on('connect', (request, socket) => {
      proxied.push(request.url ?? '');
      socket.end('HTTP/1.1 403 Forbidden\r\n\r\n');
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void proxy.close());
    const address = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
    const http = client({ env: { http_proxy: address, HTTPS_PROXY: address, no_proxy: 'direct.invalid' } });
    expect((await http.get(server.url)).text()).toBe('direct');
    await http.get('http://far.invalid/x').catch(() => {});
    await failure(http.get('https://far.invalid/x'));
    await failure(http.get('http://direct.invalid/'));
    expect([...new Set(proxied)]).toEqual([expect.stringContaining('far.invalid'), 'far.invalid:443']);
  });

  test('an aborted signal ends a request with CANCELED', async () => {
    const controller = new AbortController();
    const server = await serve(() => controller.abort());
    const error = await failure(client().get(server.url, { signal: controller.signal }));
    expect(error.code).toBe('CANCELED');
  });

  test('a malformed SREGISTRY_TIMEOUT is the error SETTINGS', () => {
    expect(() => createHttpClient({ env: { SREGISTRY_TIMEOUT: 'soon' } })).toThrow(/SREGISTRY_TIMEOUT/);
  });
});

describe('retries', () => {
  test('503 is asked again until it is mended', async () => {
    const server = await serve((_, response, number) => response.writeHead(number < 3 ? 503 : 200).end('ok'));
    expect((await client().get(server.url)).text()).toBe('ok');
    expect(server.requests).toHaveLength(3);
  });

  test('429 is asked again after the Retry-After, also for a POST', async () => {
    const times: number[] = [];
    const server = await serve((_, response, number) => {
      times.push(performance.now());
      if (number === 1) response.writeHead(429, { 'retry-after': '1' }).end();
      else response.end('ok');
    });
    await client().post(server.url);
    expect((times[1] ?? 0) - (times[0] ?? 0)).toBeGreaterThan(990);
  });

  test('a Retry-After beyond the deadline fails at once and says when', async () => {
    const server = await serve((_, response) => response.writeHead(429, { 'retry-after': '3600' }).end());
    const error = await failure(client({ timeout: 5_000 }).get(server.url));
    expect(error).toMatchObject({ code: 'RATE_LIMITED', retryAfter: 3_600_000 });
    expect(server.requests).toHaveLength(1);
  });

  test('a reset before the answer is asked again, for a GET and not for a POST', async () => {
    const server = await serve((request, response, number) =>
      number === 1 || request.method === 'POST' ? request.socket.destroy() : response.end('ok'),
    );
    expect((await client().get(server.url)).text()).toBe('ok');
    server.requests.length = 0;
    expect((await failure(client().post(server.url))).code).toBe('UNREACHABLE');
    expect(server.requests).toHaveLength(1);
  });

  test('a body that breaks off is asked for again', async () => {
    const server = await serve((_, response, number) => {
      response.writeHead(200, { 'content-length': 6 });
      if (number > 1) response.end('whole!');
      else response.write('who', () => response.socket?.destroy());
    });
    expect((await client().get(server.url)).text()).toBe('whole!');
  });

  test('404 and 403 are asked once', async () => {
    const server = await serve((_, response) => response.writeHead(403).end());
    await failure(client().get(server.url));
    expect(server.requests).toHaveLength(1);
  });

  test('a request that never succeeds ends with the deadline, and says what it was told last', async () => {
    const server = await serve((_, response) => response.writeHead(503).end('restarting'));
    const error = await failure(client({ timeout: 700 }).get(server.url));
    expect(error).toMatchObject({ code: 'TIMED_OUT', message: expect.stringContaining('0.7 s') });
    expect(String(error.cause)).toContain('restarting');
  });

  test('a service that accepts and never answers is TIMED_OUT', async () => {
    const server = await serve(() => {});
    const error = await failure(client({ timeout: 5_000, stall: 200 }).post(server.url));
    expect(error).toMatchObject({ code: 'TIMED_OUT', message: expect.stringContaining('received no data') });
  });
});

describe('credentials', () => {
  const authorize = () => ({ authorization: 'Bearer secret' });

  test('a 401 renews the token once, and the request is sent again with its body', async () => {
    let token = 'old';
    const bodies: string[] = [];
    const server = await serve(async (request, response) => {
      let body = '';
      for await (const chunk of request) body += chunk;
      bodies.push(body);
      response.writeHead(request.headers.authorization === 'Bearer new' ? 200 : 401).end();
    });
    const http = client({
      base: server.url,
      authorize: () => ({ authorization: `Bearer ${token}` }),
      updateToken: ({ status, method }) => {
        expect([status, method]).toEqual([401, 'PUT']);
        token = 'new';
        return true;
      },
    });
    await http.put('/x', { body: 'bytes' });
    expect(bodies).toEqual(['bytes', 'bytes']);
  });

  test('a token that stays refused is UNAUTHORIZED after one renewal', async () => {
    const server = await serve((_, response) => response.writeHead(401).end());
    let renewals = 0;
    const http = client({
      base: server.url,
      authorize,
      updateToken: () => {
        renewals++;
        return true;
      },
    });
    expect((await failure(http.get('/'))).code).toBe('UNAUTHORIZED');
    expect([renewals, server.requests.length]).toEqual([1, 2]);
  });

  test('credentials of any kind stay behind when a redirect leads to another origin', async () => {
    const other = await serve((_, response) => response.end('presigned'));
    const server = await serve((_, response) =>
      response.writeHead(307, { location: `${other.url}/blob?sig=1` }).end(),
    );
    const http = client({ base: server.url, headers: { 'x-api-key': 'secret' }, authorize });
    const reply = await http.get('/x', {
      headers: { cookie: 'secret', 'private-token': 'secret', accept: 'text/plain', range: 'bytes=0-8' },
    });
    expect(reply.text()).toBe('presigned');
    expect(reply.url.href).toBe(`${other.url}/blob?sig=1`);
    expect(server.requests[0]?.headers).toMatchObject({
      authorization: 'Bearer secret',
      'x-api-key': 'secret',
    });
    expect(JSON.stringify(other.requests[0]?.headers)).not.toContain('secret');
    expect(other.requests[0]?.headers).toMatchObject({ accept: 'text/plain', range: 'bytes=0-8' });
  });

  test('credentials are not sent to an address that is not the service', async () => {
    const other = await serve((_, response) => response.end());
    const http = client({ base: 'http://127.0.0.1:1', authorize, headers: { 'x-key': 'secret' } });
    await http.get(other.url);
    expect(JSON.stringify(other.requests[0]?.headers)).not.toContain('secret');
  });

  test('a redirect within the origin keeps the credentials', async () => {
    const server = await serve((request, response) =>
      request.url === '/a' ? response.writeHead(302, { location: '/b' }).end() : response.end(),
    );
    await client({ base: server.url, authorize }).get('/a');
    expect(server.requests[1]).toMatchObject({ url: '/b', headers: { authorization: 'Bearer secret' } });
  });

  test('circles, other schemes and bodies that would leave their origin are refused', async () => {
    const other = await serve((_, response) => response.end());
    const server = await serve((request, response) => {
      const to: Record<string, string> = { '/file': 'file:///etc/passwd', '/post': `${other.url}/` };
      response.writeHead(307, { location: to[request.url ?? ''] ?? '/circle' }).end();
    });
    const http = client({ base: server.url });
    expect((await failure(http.get('/circle'))).message).toContain('more than 5 redirects');
    expect((await failure(http.get('/file'))).message).toContain('not an http address');
    expect((await failure(http.post('/post', { body: 'password' }))).code).toBe('SERVICE');
    expect(other.requests).toHaveLength(0);
  });
});

describe('pages', () => {
  test('next links are followed to the last page', async () => {
    const server = await serve((request, response) => {
      const page = Number(new URL(request.url ?? '', 'http://x').searchParams.get('p'));
      if (page < 3) response.setHeader('link', `</list?p=${page + 1}>; rel="next", </list?p=0>; rel="first"`);
      response.end(JSON.stringify([page]));
    });
    const pages: unknown[] = [];
    for await (const page of client({ base: server.url }).paginate('/list', { query: { p: 1 } }))
      pages.push(page.json());
    expect(pages).toEqual([[1], [2], [3]]);
  });

  test('pages that go in circles are an error', async () => {
    const server = await serve((_, response) => {
      response.setHeader('link', '</list>; rel="next"');
      response.end('[]');
    });
    const read = async () => {
      for await (const _ of client({ base: server.url }).paginate('/list'));
    };
    expect(await failure(read())).toMatchObject({
      code: 'SERVICE',
      message: expect.stringContaining('pages repeat'),
    });
  });

  test('a next page on another origin is refused, and nothing is asked there', async () => {
    const other = await serve((_, response) => response.end('["theirs"]'));
    const server = await serve((_, response) => {
      response.setHeader('link', `<${other.url}/more?token=hidden>; rel="next"`);
      response.end('["ours"]');
    });
    const pages: unknown[] = [];
    const read = async () => {
      for await (const page of client({ base: server.url }).paginate('/list')) pages.push(page.json());
    };
    const error = await failure(read());
    expect(error).toMatchObject({ code: 'SERVICE' });
    expect(error.message).toBe(
      `GET ${server.url}/list: refused its next page on another origin, ${other.url}/more`,
    );
    expect(pages).toEqual([['ours']]);
    expect(other.requests).toEqual([]);
  });

  test('a service that takes itself for plain http behind its proxy is asked over https as before', () => {
    const page = new URL('https://registry.example:8443/v2/_catalog?n=2');
    const next = (link: string) => nextPage(`<${link}>; rel="next"`, page)?.href;
    expect(next('http://registry.example/v2/_catalog?last=b')).toBe(
      'https://registry.example:8443/v2/_catalog?last=b',
    );
    for (const elsewhere of [
      'http://other.example/x',
      'http://registry.example:81/x',
      'https://registry.example/x',
    ])
      expect(() => next(elsewhere)).toThrow('refused its next page');
  });

  test('a listing that is redirected goes on where it was redirected to', async () => {
    const other = await serve((request, response) => {
      if (request.url === '/list') response.setHeader('link', '</more>; rel="next"');
      response.end(JSON.stringify(request.url));
    });
    const server = await serve((_, response) =>
      response.writeHead(307, { location: `${other.url}/list` }).end(),
    );
    const pages: unknown[] = [];
    for await (const page of client({ base: server.url }).paginate('/list')) pages.push(page.json());
    expect(pages).toEqual(['/list', '/more']);
  });
});

describe('credentials that never come', () => {
  const never = () => new Promise<never>(() => {});

  test('are waited for until the deadline: TIMED_OUT', async () => {
    const server = await serve((_, response) => response.end());
    let signal: AbortSignal | undefined;
    const http = client({
      base: server.url,
      timeout: 300,
      authorize: (request) => {
        signal = request.signal;
        return never();
      },
    });
    expect(await failure(http.get('/x'))).toMatchObject({ code: 'TIMED_OUT' });
    expect(signal?.aborted).toBe(true);
    expect(await failure(http.stream('/x'))).toMatchObject({ code: 'TIMED_OUT' });
    expect(server.requests).toEqual([]);
  });

  test('are waited for until the deadline after a refusal as well', async () => {
    const server = await serve((_, response) => response.writeHead(401).end('log in'));
    let signal: AbortSignal | undefined;
    const http = client({
      base: server.url,
      timeout: 300,
      updateToken: (refusal) => {
        signal = refusal.signal;
        return never();
      },
    });
    expect(await failure(http.get('/x'))).toMatchObject({ code: 'TIMED_OUT' });
    expect(signal?.aborted).toBe(true);
  });

  test('are not waited for by a caller that gives up: CANCELED', async () => {
    const caller = new AbortController();
    const http = client({
      base: 'http://127.0.0.1:9',
      authorize: () => {
        caller.abort();
        return never();
      },
    });
    expect(await failure(http.get('/x', { signal: caller.signal }))).toMatchObject({ code: 'CANCELED' });
  });
});

describe('download', () => {
  test('a download arrives whole under its name, with progress, and resumed where it broke', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'sregistry-http-'));
    onTestFinished(() => rm(folder, { recursive: true }));
    const bytes = Buffer.from('0123456789'.repeat(1000));
    const server = await serve((request, response, number) =>
      sendRange(request, response, bytes, number === 1 ? { cutAfter: 4000 } : {}),
    );
    const seen: [number, number][] = [];
    const size = await client().download(`${server.url}/file`, join(folder, 'file'), {
      progress: (done, total) => seen.push([done, total]),
    });
    expect(size).toBe(bytes.length);
    expect(await readFile(join(folder, 'file'))).toEqual(bytes);
    expect(seen.at(-1)).toEqual([bytes.length, bytes.length]);
    expect(server.requests.map(({ headers }) => headers.range)).toEqual([undefined, 'bytes=4000-']);
  });

  test('a download that fails leaves nothing behind', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'sregistry-http-'));
    onTestFinished(() => rm(folder, { recursive: true }));
    const server = await serve((_, response) => response.writeHead(404).end());
    expect((await failure(client().download(server.url, join(folder, 'file')))).code).toBe('NOT_FOUND');
    expect(await readdir(folder)).toEqual([]);
  });
});
