/**
 * A service with OAuth 2: codes with PKCE for redirects (RFC 6749, RFC 7636), device codes (RFC 8628), refresh tokens. It
 * holds the client to what these want of it, and answers with their error codes where it does not comply.
 */
import { createHash, randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import { type FaultServer, startFaultServer } from './http-faults.ts';

export interface OAuthServerOptions {
  /** What the person says. Default `allow`. */
  readonly person?: 'allow' | 'refuse' | 'say nothing';
  /** Times that a device is told to wait for the person. */
  readonly pending?: number;
  /** Seconds a device code lives. */
  readonly expires?: number;
  /** Does a renewal give a new refresh token as well? */
  readonly rotates?: boolean;
  /** Is a refresh token worth nothing once it was used? What was given in its place ends as well then, as if it were stolen. */
  readonly once?: boolean;
  /** What a client has to ask for. Default: that of OAUTH_CLIENT. */
  readonly scope?: string;
}

export interface OAuthServer extends FaultServer {
  /** Access and refresh tokens given out. */
  readonly given: { access_token: string; refresh_token: string }[];
  /** Codes and refresh tokens are worth nothing from now on. */
  revoke(): void;
}

export const OAUTH_CLIENT = { clientId: 'sregistry-test', scope: 'images.read images.write' };

/** Seconds between two questions of a device. */
const INTERVAL = 0.01;
const DEVICE_GRANT = 'urn:ietf:params:oauth:grant-type:device_code';

export async function startOAuthServer(options: OAuthServerOptions = {}): Promise<OAuthServer> {
  const { person = 'allow', expires = 60, rotates = true } = options;
  const given: OAuthServer['given'] = [];
  const spent = new Set<string>();
  const requested = new Map<string, URLSearchParams>();
  const devices = new Set<string>();
  let pending = options.pending ?? 0;

  const give = (keep?: string) => {
    const tokens = { access_token: randomUUID(), refresh_token: keep ?? randomUUID() };
    given.push(tokens);
    const answer = { ...tokens, token_type: 'Bearer', expires_in: 3600 };
    return { ...answer, refresh_token: keep === undefined ? tokens.refresh_token : undefined };
  };

  const redeem = (form: URLSearchParams): object => {
    const request = requested.get(form.get('code') ?? '');
    requested.delete(form.get('code') ?? '');
    const challenge = createHash('sha256')
      .update(form.get('code_verifier') ?? '')
      .digest('base64url');
    const isRight =
      request?.get('code_challenge') === challenge &&
      request.get('redirect_uri') === form.get('redirect_uri');
    return isRight ? give() : refusal('invalid_grant');
  };

  const askPerson = (form: URLSearchParams): object => {
    if (!devices.has(form.get('device_code') ?? '')) return refusal('invalid_grant');
    if (person === 'refuse') return refusal('access_denied');
    if (person === 'say nothing' || pending-- > 0) return refusal('authorization_pending');
    return give();
  };

  const renew = (form: URLSearchParams): object => {
    const token = form.get('refresh_token') ?? '';
    if (options.once && spent.has(token)) given.length = 0;
    if (!given.some(({ refresh_token }) => refresh_token === token)) return refusal('invalid_grant');
    spent.add(token);
    return give(rotates ? undefined : token);
  };

  /** RFC 7009, as Google has it: an unknown token is an error. */
  const revokeOne = (token: string | null): object => {
    const at = given.findIndex(({ refresh_token }) => refresh_token === token);
    return at < 0 ? refusal('invalid_token') : given.splice(at) && {};
  };

  const grants: Record<string, (form: URLSearchParams) => object> = {
    authorization_code: redeem,
    [DEVICE_GRANT]: askPerson,
    refresh_token: renew,
  };

  const authorize = (query: URLSearchParams, response: ServerResponse) => {
    const complies =
      query.get('response_type') === 'code' &&
      query.get('client_id') === OAUTH_CLIENT.clientId &&
      query.get('scope') === (options.scope ?? OAUTH_CLIENT.scope) &&
      query.get('code_challenge_method') === 'S256';
    if (!complies) return sendJson(response, refusal('invalid_request'));
    const code = randomUUID();
    requested.set(code, query);
    const page = query.get('redirect_uri');
    if (page === null) {
      response.writeHead(200, { 'content-type': 'text/plain' }).end(person === 'allow' ? code : 'refused');
      return;
    }
    const target = new URL(page);
    target.searchParams.set('state', query.get('state') ?? '');
    if (person === 'allow') target.searchParams.set('code', code);
    else target.searchParams.set('error', 'access_denied');
    response.writeHead(302, { location: target.href }).end();
  };

  const startDevice = (server: string) => {
    const device_code = randomUUID();
    devices.add(device_code);
    const verification_uri = `${server}/device`;
    return { device_code, user_code: 'WDJB-MJHT', verification_uri, expires_in: expires, interval: INTERVAL };
  };

  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    const { pathname, searchParams, origin } = new URL(request.url ?? '/', server.url);
    if (pathname === '/authorize') return authorize(searchParams, response);
    const form = new URLSearchParams(await text(request));
    if (pathname === '/revoke') return sendJson(response, revokeOne(form.get('token')));
    if (form.get('client_id') !== OAUTH_CLIENT.clientId) return sendJson(response, refusal('invalid_client'));
    if (pathname === '/device_authorization') return sendJson(response, startDevice(origin));
    const grant = grants[form.get('grant_type') ?? ''];
    sendJson(response, grant?.(form) ?? refusal('unsupported_grant_type'));
  };

  const server = await startFaultServer((request, response) => {
    answer(request, response).catch((error) => response.writeHead(500).end(String(error)));
  });
  return {
    ...server,
    given,
    revoke() {
      requested.clear();
      given.length = 0;
    },
  };
}

/** How a client is told of it. */
export function registrationAt({ url }: Pick<OAuthServer, 'url'>) {
  return {
    ...OAUTH_CLIENT,
    issuer: url,
    authorizationEndpoint: `${url}/authorize`,
    deviceAuthorizationEndpoint: `${url}/device_authorization`,
    tokenEndpoint: `${url}/token`,
  };
}

const refusal = (error: string) => ({ error, error_description: `the fake says ${error}` });

function sendJson(response: ServerResponse, body: object): void {
  response.writeHead('error' in body ? 400 : 200, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}
