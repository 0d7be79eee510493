/**
 * OAuth 2 for services that have it: codes with PKCE (RFC 6749, RFC 7636), device codes (RFC 8628), and the renewal of
 * tokens, which a driver does in its `updateToken`. How a person is led through the first two is oauth-login.ts.
 *
 * openid-client speaks the protocol; its requests go through the base client.
 */
import type { Configuration, DeviceAuthorizationResponse, TokenEndpointResponse } from 'openid-client';
import { abortError } from '../base/abort.ts';
import { type ErrorCode, isError, SregistryError } from '../base/errors.ts';
import { registerSecret } from '../log/index.ts';
import { createHttpClient, type HttpClient, isLoopback } from './http.ts';

/** An application's registration at a service. */
export interface OAuthService {
  /** As the service calls itself in its answers (RFC 9207): `https://accounts.google.com`. */
  readonly issuer: string;
  readonly tokenEndpoint: string;
  readonly authorizationEndpoint?: string | undefined;
  readonly deviceAuthorizationEndpoint?: string | undefined;
  readonly clientId: string;
  /** Of an application that people install it is no secret (RFC 8252 section 8.5), but some services want one. */
  readonly clientSecret?: string | undefined;
  /** Separated by spaces. */
  readonly scope: string;
  /** What this service wants beside the standard's parameters: `{ access_type: 'offline' }`. */
  readonly parameters?: Readonly<Record<string, string>> | undefined;
}

export interface Tokens {
  readonly accessToken: string;
  /** Undefined where the service gave none: then a person is asked again. */
  readonly refreshToken: string | undefined;
  /** Undefined where the service does not say. */
  readonly expires: Date | undefined;
}

export interface OAuthOptions {
  readonly env?: NodeJS.ProcessEnv | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A request for someone's permission. */
export interface Authorization {
  /** Where the person gives it. */
  readonly url: URL;
  /** What the answer must hold, so that it is the answer to this. */
  readonly state: string;
  /** Turns the address that the answer came to into tokens. */
  redeem(answer: URL): Promise<Tokens>;
}

/** A request that is answered on another device. */
export interface DeviceAuthorization {
  /** Where to go. */
  readonly url: string;
  /** What to enter there. */
  readonly code: string;
  /** The same with the code in it, where the service has that. */
  readonly completeUrl: string | undefined;
  /** Resolves when the person has answered. TIMED_OUT when the code has expired. */
  wait(): Promise<Tokens>;
}

/** Methods throw FORBIDDEN where the person refuses, UNAUTHORIZED for what the service does not accept, and those of requests. */
export interface OAuth extends AsyncDisposable {
  authorize(redirectUri: string): Promise<Authorization>;
  authorizeDevice(): Promise<DeviceAuthorization>;
  /** New tokens for a refresh token; the old one stays where the service gives no other. */
  refresh(refreshToken: string): Promise<Tokens>;
}

type Library = typeof import('openid-client');

export async function createOAuth(service: OAuthService, options: OAuthOptions = {}): Promise<OAuth> {
  const library = await import('openid-client');
  const http = createHttpClient({ env: options.env });
  const config = configure(library, service, http, options.signal);

  const toTokens = async (answer: () => Promise<TokenEndpointResponse>, old?: string): Promise<Tokens> => {
    try {
      return readTokens(await answer(), old);
    } catch (error) {
      throw failure(service, error, options.signal);
    }
  };

  return {
    async authorize(redirectUri) {
      const state = library.randomState();
      const verifier = library.randomPKCECodeVerifier();
      const url = library.buildAuthorizationUrl(config, {
        ...service.parameters,
        redirect_uri: redirectUri,
        scope: service.scope,
        state,
        code_challenge: await library.calculatePKCECodeChallenge(verifier),
        code_challenge_method: 'S256',
      });
      const checks = { pkceCodeVerifier: verifier, expectedState: state };
      return {
        url,
        state,
        redeem: (answer) => toTokens(() => library.authorizationCodeGrant(config, answer, checks)),
      };
    },

    async authorizeDevice() {
      const begun = await beginDevice(library, service, config, options.signal);
      const expired = AbortSignal.timeout(begun.expires_in * 1000);
      const signal = options.signal === undefined ? expired : AbortSignal.any([expired, options.signal]);
      return {
        url: begun.verification_uri,
        code: begun.user_code,
        completeUrl: begun.verification_uri_complete,
        wait: () =>
          toTokens(() => library.pollDeviceAuthorizationGrant(config, begun, undefined, { signal })),
      };
    },

    refresh: (refreshToken) => toTokens(() => library.refreshTokenGrant(config, refreshToken), refreshToken),

    [Symbol.asyncDispose]: () => http.close(),
  };
}

function configure(
  library: Library,
  service: OAuthService,
  http: HttpClient,
  signal?: AbortSignal,
): Configuration {
  const config = new library.Configuration(
    {
      issuer: service.issuer,
      token_endpoint: service.tokenEndpoint,
      ...(service.authorizationEndpoint && { authorization_endpoint: service.authorizationEndpoint }),
      ...(service.deviceAuthorizationEndpoint && {
        device_authorization_endpoint: service.deviceAuthorizationEndpoint,
      }),
    },
    service.clientId,
    service.clientSecret,
  );
  // The base client has time limits of its own.
  config.timeout = 0;
  config[library.customFetch] = async (url, { method, headers, body, signal: limit }) => {
    const signals = [signal, limit].filter((each) => each != null);
    const reply = await http.request(method, url, {
      headers,
      body: String(body),
      allow: REFUSALS,
      idempotent: body instanceof URLSearchParams && body.get('grant_type') === DEVICE_GRANT,
      ...(signals.length > 0 && { signal: AbortSignal.any(signals) }),
    });
    return new Response(new Uint8Array(reply.bytes), { status: reply.status, headers: reply.headers });
  };
  if (isLoopback(new URL(service.tokenEndpoint).host)) library.allowInsecureRequests(config);
  return config;
}

/** Statuses whose bodies say in the protocol's words what is wrong (RFC 6749 section 5.2); 428 is Google's. */
const REFUSALS = [400, 401, 403, 428];
/** Asking whether a person has answered may be done twice. */
const DEVICE_GRANT = 'urn:ietf:params:oauth:grant-type:device_code';

async function beginDevice(
  library: Library,
  service: OAuthService,
  config: Configuration,
  signal?: AbortSignal,
): Promise<DeviceAuthorizationResponse> {
  try {
    return await library.initiateDeviceAuthorization(config, { ...service.parameters, scope: service.scope });
  } catch (error) {
    throw failure(service, error, signal);
  }
}

function readTokens(answer: TokenEndpointResponse, oldRefreshToken?: string): Tokens {
  const { access_token: accessToken, refresh_token: refreshToken = oldRefreshToken, expires_in } = answer;
  for (const secret of [accessToken, refreshToken]) if (secret !== undefined) registerSecret(secret);
  const expires = expires_in === undefined ? undefined : new Date(Date.now() + expires_in * 1000);
  return { accessToken, refreshToken, expires };
}

/** What the protocol's error codes mean (RFC 6749 sections 4.1.2.1 and 5.2, RFC 8628 section 3.5). */
const CODES: Readonly<Record<string, ErrorCode>> = {
  access_denied: 'FORBIDDEN',
  expired_token: 'TIMED_OUT',
  invalid_client: 'UNAUTHORIZED',
  invalid_grant: 'UNAUTHORIZED',
  unauthorized_client: 'UNAUTHORIZED',
};

/** The error for what openid-client, the base client below it, or a signal failed with. */
function failure({ issuer }: OAuthService, error: unknown, signal?: AbortSignal): SregistryError {
  if (signal?.aborted) return abortError(signal, `logging in to ${issuer}`);
  const { cause, code, error: word, error_description: description } = error as OAuthFailure;
  if (isError(error)) return error;
  if (isError(cause)) return cause;
  if (code === 'OAUTH_TIMEOUT')
    return new SregistryError('TIMED_OUT', `${issuer}: nobody answered before the code expired`, {
      cause: error,
    });
  const reason = [word, description].filter(Boolean).join(': ');
  return new SregistryError(
    CODES[word ?? ''] ?? 'SERVICE',
    `${issuer} gives no token${reason && `: ${reason}`}`,
    {
      hint: 'Log in again, and allow the access that is asked for',
      cause: error,
    },
  );
}

interface OAuthFailure {
  readonly cause?: unknown;
  readonly code?: string;
  readonly error?: string;
  readonly error_description?: string;
}
