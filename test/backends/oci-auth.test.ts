import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { Backend } from '../../src/backends/backend.ts';
import { createHttpClient } from '../../src/backends/http.ts';
import { createAuth, type Login } from '../../src/backends/oci/auth.ts';
import oci from '../../src/backends/oci/index.ts';
import { type FakeRegistry, type FakeRegistryOptions, startFakeRegistry } from '../servers/fake-registry.ts';
import { startFaultServer } from '../servers/http-faults.ts';
import { createTokenServer, type TokenServer, type TokenServerOptions } from '../servers/token-server.ts';

const LOGIN = { username: 'lab', password: 'lab-secret' };
const NAME = { collection: 'demo', image: 'x', tag: '1' };
const MANIFEST = { mediaType: 'application/vnd.oci.image.manifest.v1+json', layers: [] };

async function start(
  tokens?: Partial<TokenServerOptions>,
  options: FakeRegistryOptions = {},
): Promise<{ registry: FakeRegistry; tokens: TokenServer }> {
  const server = createTokenServer({ ...LOGIN, lifetime: 300, ...tokens });
  const registry = await startFakeRegistry({ tokens: server, ...options });
  onTestFinished(() => registry.close());
  registry.putManifest('demo/x', '1', MANIFEST);
  return { registry, tokens: server };
}

function open(
  base: string,
  login: { username?: string; password?: string } = {},
  env: NodeJS.ProcessEnv = {},
): Backend {
  const options = {
    base,
    username: login.username,
    password: login.password,
    nohttps: undefined,
    soci: undefined,
    arch: undefined,
  };
  const backend = oci.create({ name: 'lab', options, env: { HOME: '/nonexistent', ...env } });
  onTestFinished(() => backend.close?.());
  return backend;
}

/** A client of the registry that logs in as told. */
function client(registry: FakeRegistry, login: Login) {
  const plain = createHttpClient({ env: {} });
  const http = createHttpClient({
    base: registry.url,
    env: {},
    ...createAuth({
      origin: new URL(registry.url),
      http: plain,
      logins: { find: async () => login, forget: () => {} },
    }),
  });
  onTestFinished(() => plain.close());
  onTestFinished(() => http.close());
  return http;
}

describe('bearer tokens', () => {
  test('one token serves all requests of its scope, however many ask at once', async () => {
    const { registry, tokens } = await start();
    const backend = open(registry.url, LOGIN);
    await Promise.all(Array.from({ length: 20 }, () => backend.resolve(NAME)));
    await backend.resolve(NAME);
    expect(tokens.asked).toEqual([{ method: 'GET', user: 'lab', scopes: ['repository:demo/x:pull'] }]);
  });

  test('without a login a token for anonymous users does', async () => {
    const { registry, tokens } = await start();
    await expect(open(registry.url).resolve(NAME)).resolves.toBeDefined();
    expect(tokens.asked[0]?.user).toBeUndefined();
  });

  test('a token that the registry no longer takes is renewed once', async () => {
    const { registry, tokens } = await start();
    const backend = open(registry.url, LOGIN);
    await backend.resolve(NAME);
    tokens.revoke();
    await Promise.all(Array.from({ length: 5 }, () => backend.resolve(NAME)));
    expect(tokens.asked).toHaveLength(2);
  });

  test('a token is not used beyond its lifetime', async () => {
    // 1 s is what is left of a lifetime of less than the margin.
    const { registry, tokens } = await start({ lifetime: 1 });
    const backend = open(registry.url, LOGIN);
    await backend.resolve(NAME);
    await new Promise((resolve) => setTimeout(resolve, 1_100));
    await backend.resolve(NAME);
    expect(tokens.asked).toHaveLength(2);
    expect(registry.requests.filter(({ method, url }) => method === 'GET' && url !== '/token')).toHaveLength(
      6,
    );
  });

  test('what one may not do stays UNAUTHORIZED, with a hint to log in', async () => {
    const { registry } = await start();
    const backend = open(registry.url);
    const image = await backend.resolve(NAME);
    await expect(backend.copy?.(image as never, { ...NAME, tag: '2' })).rejects.toMatchObject({
      code: 'UNAUTHORIZED',
      hint: expect.stringContaining('sregistry auth login lab'),
    });
  });

  test('a wrong password is said, and names the token service', async () => {
    const { registry } = await start();
    await expect(open(registry.url, { ...LOGIN, password: 'no' }).resolve(NAME)).rejects.toMatchObject({
      code: 'UNAUTHORIZED',
      message: expect.stringContaining('/token refuses the login of lab'),
    });
  });

  test('an identity token is traded by POST, a registry token is sent as it is', async () => {
    const { registry, tokens } = await start({ refreshToken: 'refresh-me' });
    const path = '/v2/demo/x/manifests/1';
    await client(registry, { identityToken: 'refresh-me' }).get(path);
    expect(tokens.asked).toEqual([{ method: 'POST', user: 'lab', scopes: ['repository:demo/x:pull'] }]);
    await expect(client(registry, { registryToken: 'given' }).get(path)).rejects.toMatchObject({
      status: 401,
    });
    expect(registry.requests.at(-1)?.headers.authorization).toBe('Bearer given');
  });

  test('an answer without a usable token is the error SERVICE', async () => {
    for (const body of ['{}', '{"token":""}', '{"token":"a\\r\\nb"}', '[]', 'null']) {
      const server = await startFaultServer((request, response) => {
        if (request.url?.startsWith('/token')) return void response.end(body);
        response.writeHead(401, { 'www-authenticate': `Bearer realm="${server.url}/token"` }).end();
      });
      onTestFinished(() => server.close());
      await expect(open(server.url).resolve(NAME)).rejects.toMatchObject({ code: 'SERVICE' });
    }
  });

  test('a token service that stalls ends at the deadline of the request, and is left alone then', async () => {
    const closed = Promise.withResolvers<void>();
    const server = await startFaultServer((request, response) => {
      if (request.url?.startsWith('/token')) return void response.on('close', closed.resolve);
      response.writeHead(401, { 'www-authenticate': `Bearer realm="${server.url}/token"` }).end();
    });
    onTestFinished(() => server.close());
    const backend = open(server.url, LOGIN);
    await expect(backend.resolve(NAME, AbortSignal.timeout(300))).rejects.toMatchObject({
      code: 'TIMED_OUT',
    });
    await closed.promise;
  });

  test('one who gives up waiting for a token leaves it to the others who wait for it', async () => {
    const asked = Promise.withResolvers<() => void>();
    const server = await startFaultServer((_, response) =>
      asked.resolve(() => response.end('{"token":"t"}')),
    );
    const http = createHttpClient({ env: {} });
    onTestFinished(() => http.close());
    onTestFinished(() => server.close());
    const logins = { find: async () => undefined, forget: () => {} };
    const auth = createAuth({ origin: new URL(server.url), http, logins });
    const url = new URL('/v2/demo/x/manifests/1', server.url);
    const headers = { 'www-authenticate': `Bearer realm="${server.url}/token"` };
    const refusal = { status: 401, headers, method: 'GET', url, credentials: {} };
    const caller = new AbortController();
    const leaving = auth.updateToken({ ...refusal, signal: caller.signal });
    const staying = auth.updateToken(refusal);
    const answer = await asked.promise;
    caller.abort();
    await expect(leaving).rejects.toMatchObject({ code: 'CANCELED' });
    answer();
    expect(await staying).toBe(true);
    expect(await auth.authorize({ method: 'GET', url })).toEqual({ authorization: 'Bearer t' });
    expect(server.requests).toHaveLength(1);
  });

  test('a token service that is no http address is the error SERVICE', async () => {
    const server = await startFaultServer((_, response) =>
      response.writeHead(401, { 'www-authenticate': 'Bearer realm="file:///etc/passwd"' }).end(),
    );
    onTestFinished(() => server.close());
    await expect(open(server.url, LOGIN).resolve(NAME)).rejects.toMatchObject({ code: 'SERVICE' });
  });

  test('credentials do not follow a blob to the storage that it is redirected to', async () => {
    const storage = await startFaultServer((_, response) => response.end('bytes'));
    onTestFinished(() => storage.close());
    const { registry } = await start({}, { storage: storage.url });
    const digest = `sha256:${'1'.repeat(64)}`;
    registry.blobs.set(`demo/x@${digest}`, Buffer.from('bytes'));
    const reply = await client(registry, LOGIN).get(`/v2/demo/x/blobs/${digest}`);
    expect(reply.text()).toBe('bytes');
    expect(storage.requests[0]?.headers.authorization).toBeUndefined();
  });
});

describe('basic logins', () => {
  async function startBasic() {
    const expected = `Basic ${Buffer.from('lab:lab-secret').toString('base64')}`;
    const registry = await startFakeRegistry({
      fault: (request, response) => {
        if (request.headers.authorization === expected) return false;
        response.writeHead(401, { 'www-authenticate': 'Basic realm="lab"' }).end();
        return true;
      },
    });
    onTestFinished(() => registry.close());
    registry.putManifest('demo/x', '1', MANIFEST);
    return registry;
  }

  test('user and password are sent when asked for, then with every request', async () => {
    const registry = await startBasic();
    const backend = open(registry.url, LOGIN);
    await backend.check?.();
    await backend.resolve(NAME);
    expect(registry.requests.map(({ headers }) => headers.authorization !== undefined)).toEqual([
      false,
      true,
      true,
    ]);
  });

  test('a login that is refused is UNAUTHORIZED, and looked up again for the next request', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'sregistry-auth-'));
    onTestFinished(() => rm(folder, { recursive: true }));
    const registry = await startBasic();
    const logIn = (login: string) => {
      const auths = { [new URL(registry.url).host]: { auth: Buffer.from(login).toString('base64') } };
      return writeFile(join(folder, 'config.json'), JSON.stringify({ auths }));
    };
    const backend = open(registry.url, {}, { DOCKER_CONFIG: folder });
    await logIn('lab:wrong');
    await expect(backend.check?.()).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
    await logIn('lab:lab-secret');
    await backend.check?.();
  });

  test('without a login it is UNAUTHORIZED', async () => {
    const registry = await startBasic();
    await expect(open(registry.url).resolve(NAME)).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
  });
});
