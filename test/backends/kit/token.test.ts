import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { createHttpClient } from '../../../src/backends/http.ts';
import { type AccessToken, bearerCredentials, TokenCache } from '../../../src/backends/kit/token.ts';
import { SregistryError } from '../../../src/base/errors.ts';
import { redact } from '../../../src/log/index.ts';
import { startFaultServer } from '../../servers/http-faults.ts';

/** Gives `token-1`, `token-2`, ..., each a moment after it was asked for. */
function issuer(lifetime = 3600) {
  let count = 0;
  const obtain = vi.fn(async (): Promise<AccessToken> => {
    await Promise.resolve();
    return { value: `token-${++count}`, lifetime };
  });
  return obtain;
}

/** A service that takes one token, and a client of it. */
async function startService(obtain: () => Promise<AccessToken>, isGood: (token: string) => boolean) {
  const server = await startFaultServer((request, response) => {
    const token = request.headers.authorization?.replace('Bearer ', '') ?? '';
    response.writeHead(isGood(token) ? 200 : 401).end(token);
  });
  const http = createHttpClient({ base: server.url, env: {}, ...bearerCredentials(obtain) });
  onTestFinished(() => server.close());
  onTestFinished(() => http.close());
  return { server, http };
}

describe('A token', () => {
  test('is obtained once for however many requests wait for it, and serves those that follow.', async () => {
    const obtain = issuer();
    const { server, http } = await startService(obtain, () => true);
    await Promise.all(Array.from({ length: 20 }, () => http.get('/')));
    await http.get('/');
    expect(obtain).toHaveBeenCalledTimes(1);
    expect(new Set(server.requests.map(({ headers }) => headers.authorization))).toEqual(
      new Set(['Bearer token-1']),
    );
  });

  test('that the service refuses is replaced once for all requests that it was refused to.', async () => {
    const obtain = issuer();
    let good = 'token-1';
    const { http } = await startService(obtain, (token) => token === good);
    await http.get('/');
    good = 'token-2';
    const replies = await Promise.all(Array.from({ length: 10 }, () => http.get('/')));
    expect(replies.map((reply) => reply.text())).toEqual(replies.map(() => 'token-2'));
    expect(obtain).toHaveBeenCalledTimes(2);
  });

  test('that is refused and cannot be bettered is the error UNAUTHORIZED, without a further request.', async () => {
    const { server, http } = await startService(
      async () => ({ value: 'always-the-same', lifetime: 60 }),
      () => false,
    );
    await expect(http.get('/')).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
    expect(server.requests).toHaveLength(1);
  });

  test('is used until ten seconds before its end.', async () => {
    const tokens = new TokenCache();
    const obtain = issuer(11.2);
    await tokens.get('', obtain);
    expect(await tokens.get('', obtain)).toBe('token-1');
    await new Promise((resolve) => setTimeout(resolve, 1_300));
    expect(tokens.peek('')).toBeUndefined();
    expect(await tokens.get('', obtain)).toBe('token-2');
  });

  test('that cannot be obtained fails the requests that wait, and the next one tries again.', async () => {
    const obtain = issuer();
    obtain.mockRejectedValueOnce(new SregistryError('FORBIDDEN', 'no token for you'));
    const { http } = await startService(obtain, () => true);
    const outcomes = await Promise.allSettled([http.get('/'), http.get('/')]);
    for (const outcome of outcomes)
      expect(outcome).toMatchObject({ reason: expect.objectContaining({ code: 'FORBIDDEN' }) });
    await http.get('/');
    expect(obtain).toHaveBeenCalledTimes(2);
  });

  test('appears in no message.', async () => {
    await new TokenCache().get('', async () => ({ value: 'a-very-secret-token', lifetime: 60 }));
    expect(redact('Bearer a-very-secret-token')).not.toContain('a-very-secret-token');
  });
});

test('tokens of different scopes are kept apart', async () => {
  const tokens = new TokenCache();
  const obtain = issuer();
  expect(await tokens.get('pull', obtain)).toBe('token-1');
  expect(await tokens.get('push', obtain)).toBe('token-2');
  expect(await tokens.replace('pull', 'token-1', obtain)).toBe('token-3');
  expect(await tokens.replace('pull', 'token-1', obtain)).toBe('token-3');
  expect(tokens.peek('push')).toBe('token-2');
  tokens.forget();
  expect(tokens.peek('push')).toBeUndefined();
});
