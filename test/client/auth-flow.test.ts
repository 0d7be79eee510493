import { afterEach, describe, expect, test } from 'vitest';
import { createOAuth } from '../../src/backends/oauth.ts';
import { authFlow, authFlowDevice, authFlowLoopback, type Invitation } from '../../src/client/auth-flow.ts';
import {
  type OAuthServer,
  type OAuthServerOptions,
  registrationAt,
  startOAuthServer,
} from '../servers/oauth-server.ts';

const env = {};
let server: OAuthServer;
afterEach(() => server?.close());

async function startService(options: OAuthServerOptions = {}) {
  server = await startOAuthServer(options);
  return registrationAt(server);
}

/** Opens the address as a browser does; what the last page says. */
async function browse({ url }: Invitation): Promise<string> {
  return (await fetch(url)).text();
}

describe('By a redirect', () => {
  test('tokens come to this machine alone, with PKCE, and the browser shows a page.', async () => {
    const service = await startService();
    let page: Promise<string> | undefined;
    let redirect = '';
    const tokens = await authFlowLoopback(service, {
      env,
      show(invitation) {
        redirect = new URL(invitation.url).searchParams.get('redirect_uri') ?? '';
        page = browse(invitation);
      },
    });
    expect(redirect).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/$/);
    expect(await page).toContain('can be closed');
    const [given] = server.given;
    expect(tokens).toMatchObject({ accessToken: given?.access_token, refreshToken: given?.refresh_token });
    expect(tokens.expires?.getTime()).toBeGreaterThan(Date.now());
    await expect(fetch(redirect)).rejects.toThrow();
  });

  test('the parameters that a service wants of its own are sent.', async () => {
    const service = { ...(await startService()), parameters: { access_type: 'offline' } };
    let asked = '';
    await authFlowLoopback(service, {
      env,
      show(invitation) {
        asked = invitation.url;
        void browse(invitation);
      },
    });
    expect(new URL(asked).searchParams.get('access_type')).toBe('offline');
  });

  test('an answer to another request is not taken.', async () => {
    const service = await startService();
    const tokens = await authFlowLoopback(service, {
      env,
      async show(invitation) {
        const redirect = new URL(invitation.url).searchParams.get('redirect_uri');
        const forged = await fetch(`${redirect}?code=forged&state=forged`);
        expect(forged.status).toBe(404);
        await browse(invitation);
      },
    });
    expect(tokens.accessToken).toBe(server.given[0]?.access_token);
  });

  test('a refusal is FORBIDDEN.', async () => {
    const service = await startService({ person: 'refuse' });
    const flow = authFlowLoopback(service, { env, show: (invitation) => void browse(invitation) });
    await expect(flow).rejects.toMatchObject({
      code: 'FORBIDDEN',
      message: expect.stringContaining('access_denied'),
    });
  });

  test('a code that the service does not accept is UNAUTHORIZED.', async () => {
    const service = await startService();
    const flow = authFlowLoopback(service, {
      env,
      async show({ url }) {
        const answer = await fetch(url, { redirect: 'manual' });
        server.revoke();
        await fetch(answer.headers.get('location') ?? '');
      },
    });
    await expect(flow).rejects.toMatchObject({
      code: 'UNAUTHORIZED',
      message: expect.stringContaining('the fake says invalid_grant'),
    });
  });

  test('it can be canceled, and listens no longer.', async () => {
    const service = await startService();
    const canceling = new AbortController();
    let redirect = '';
    const flow = authFlowLoopback(service, {
      env,
      signal: canceling.signal,
      show({ url }) {
        redirect = new URL(url).searchParams.get('redirect_uri') ?? '';
        canceling.abort();
      },
    });
    await expect(flow).rejects.toMatchObject({ code: 'CANCELED' });
    await expect(fetch(redirect)).rejects.toThrow();
  });
});

describe('By a device code', () => {
  test('tokens come when the person has entered it.', async () => {
    const service = await startService({ pending: 3 });
    const shown: Invitation[] = [];
    const tokens = await authFlowDevice(service, { env, show: (invitation) => shown.push(invitation) });
    expect(shown).toEqual([{ url: `${server.url}/device`, code: 'WDJB-MJHT' }]);
    expect(tokens.accessToken).toBe(server.given[0]?.access_token);
    expect(server.requests.filter(({ url }) => url === '/token')).toHaveLength(4);
  });

  test('a refusal is FORBIDDEN.', async () => {
    const service = await startService({ person: 'refuse' });
    await expect(authFlowDevice(service, { env, show() {} })).rejects.toMatchObject({ code: 'FORBIDDEN' });
  });

  test('that nobody enters is TIMED_OUT.', async () => {
    const service = await startService({ person: 'say nothing', expires: 0.1 });
    await expect(authFlowDevice(service, { env, show() {} })).rejects.toMatchObject({ code: 'TIMED_OUT' });
  });

  test('it can be canceled.', async () => {
    const service = await startService({ person: 'say nothing' });
    const canceling = new AbortController();
    const flow = authFlowDevice(service, { env, signal: canceling.signal, show: () => canceling.abort() });
    await expect(flow).rejects.toMatchObject({ code: 'CANCELED' });
  });

  test('a service that is not there is UNREACHABLE.', async () => {
    const service = await startService();
    await server.close();
    await expect(
      authFlowDevice(service, { env: { SREGISTRY_TIMEOUT: '20' }, show() {} }),
    ).rejects.toMatchObject({
      code: 'UNREACHABLE',
    });
  });
});

describe('Tokens', () => {
  test.each([true, false])('are renewed; the service gives a new refresh token: %s.', async (rotates) => {
    const service = await startService({ rotates });
    const { refreshToken = '' } = await authFlowDevice(service, { env, show() {} });
    await using oauth = await createOAuth(service, { env });
    const renewed = await oauth.refresh(refreshToken);
    expect(renewed.accessToken).toBe(server.given[1]?.access_token);
    expect(renewed.refreshToken === refreshToken).toBe(!rotates);
  });

  test('that were withdrawn are not renewed: UNAUTHORIZED.', async () => {
    const service = await startService();
    const { refreshToken = '' } = await authFlowDevice(service, { env, show() {} });
    server.revoke();
    await using oauth = await createOAuth(service, { env });
    await expect(oauth.refresh(refreshToken)).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
  });
});

describe('Without a terminal', () => {
  test('nobody is asked, and the error says what to do.', async () => {
    const refusal = { code: 'SETTINGS', hint: expect.stringContaining('terminal') };
    await expect(authFlow('https://example.org/code')).rejects.toMatchObject(refusal);
    const service = await startService();
    await expect(authFlowLoopback(service, { env })).rejects.toMatchObject(refusal);
    await expect(authFlowDevice(service, { env })).rejects.toMatchObject(refusal);
    expect(server.requests.filter(({ url }) => url === '/token')).toEqual([]);
  });
});
