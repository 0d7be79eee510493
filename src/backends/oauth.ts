/**
 * OAuth 2: authorization codes with PKCE (RFC 6749, RFC 7636), device codes (RFC 8628), and token renewal, which a driver runs in
 * its `updateToken`. oauth-login.ts guides a person through the first two.
 *
 * openid-client speaks the protocol; its requests go through the base client.
 */
import type { Configuration, DeviceAuthorizationResponse, TokenEndpointResponse } from 'openid-client';
import { abortError } from '../base/abort.ts';
import { type ErrorCode, isError, SregistryError } from '../base/errors.ts';
import { registerSecret } from '../log/index.ts';
import { isJsonObject } from '../settings/json.ts';
import { createHttpClient, type HttpClient, isLoopback } from './http.ts';

/** An application's registration at a service. */
export interface OAuthService {
  /** The service's name for itself in its answers (RFC 9207): `https://accounts.google.com`. */
  readonly issuer: string;
  readonly tokenEndpoint: string;
  readonly authorizationEndpoint?: string | undefined;
  readonly deviceAuthorizationEndpoint?: string | undefined;
  readonly clientId: string;
  /** Not confidential in an application that people install (RFC 8252 section 8.5), but some services require one. */
  readonly clientSecret?: string | undefined;
  /** Separated by spaces. */
  readonly scope: string;
  /** Parameters that this service requires beyond the standard's: `{ access_type: 'offline' }`. */
  readonly parameters?: Readonly<Record<string, string>> | undefined;
}

export interface Tokens {
  readonly accessToken: string;
  /** Undefined if the service gave none: the person must then log in again. */
  readonly refreshToken: string | undefined;
  /** Undefined if the service does not say. */
  readonly expires: Date | undefined;
  /** Name of the service that accepts the access token, if the answer says so. */
  readonly resourceServer?: string | undefined;
  /** The tokens for further resource servers that came with the same answer (Globus: `other_tokens`). */
  readonly others?: readonly Tokens[] | undefined;
}

export interface OAuthOptions {
  readonly env?: NodeJS.ProcessEnv | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A request for someone's permission. */
export interface Authorization {
  /** The URL at which the person grants it. */
  readonly url: URL;
  /** The redirect must carry this value, which ties it to this request. */
  readonly state: string;
  /** Exchanges the URL of the redirect for tokens. */
  redeem(answer: URL): Promise<Tokens>;
  /** Exchanges the code alone for tokens, if a person has copied it. */
  redeemCode(code: string): Promise<Tokens>;
}

/** A request that is answered on another device. */
export interface DeviceAuthorization {
  /** URL for the person to open. */
  readonly url: string;
  /** Code to enter there. */
  readonly code: string;
  /** The same URL with the code in it, if the service offers one. */
  readonly completeUrl: string | undefined;
  /** Resolves when the person has granted access. Throws TIMED_OUT when the code expires. */
  wait(): Promise<Tokens>;
}

/** Methods throw FORBIDDEN if the person refuses, UNAUTHORIZED if the service rejects a grant or token, and the errors of requests. */
export interface OAuth extends AsyncDisposable {
  /** `redirectUri` is undefined for a service that then shows the code to the person. */
  authorize(redirectUri: string | undefined): Promise<Authorization>;
  authorizeDevice(): Promise<DeviceAuthorization>;
  /** Gets new tokens for a refresh token. Keeps the old refresh token if the service gives no new one. */
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
      const redirect = redirectUri === undefined ? {} : { redirect_uri: redirectUri };
      const url = library.buildAuthorizationUrl(config, {
        ...service.parameters,
        ...redirect,
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
        redeemCode: (code) => {
          const grant = { code, code_verifier: verifier, ...redirect };
          return toTokens(() => library.genericGrantRequest(config, 'authorization_code', grant));
        },
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

/** Statuses whose bodies hold an OAuth error code (RFC 6749 section 5.2); 428 is Google's. */
const REFUSALS = [400, 401, 403, 428];
/** The grant type of polling for the person's answer, which is safe to repeat. */
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

/** What {@link readTokens} reads; `other_tokens` come unchecked. */
interface TokenAnswer {
  readonly access_token?: unknown;
  readonly refresh_token?: unknown;
  readonly expires_in?: unknown;
  readonly resource_server?: unknown;
  readonly other_tokens?: unknown;
}

function readTokens(answer: TokenAnswer, oldRefreshToken?: string): Tokens {
  const { access_token: accessToken, refresh_token: refreshToken = oldRefreshToken, expires_in } = answer;
  if (typeof accessToken !== 'string' || !(refreshToken === undefined || typeof refreshToken === 'string'))
    throw new SregistryError('SERVICE', 'The service sent malformed tokens');
  for (const secret of [accessToken, refreshToken]) if (secret !== undefined) registerSecret(secret);
  const expires = typeof expires_in === 'number' ? new Date(Date.now() + expires_in * 1000) : undefined;
  const { resource_server: resourceServer, other_tokens: others } = answer;
  return {
    accessToken,
    refreshToken,
    expires,
    ...(typeof resourceServer === 'string' && { resourceServer }),
    ...(Array.isArray(others) && { others: others.filter(isJsonObject).map((other) => readTokens(other)) }),
  };
}

/** The protocol's error codes (RFC 6749 sections 4.1.2.1 and 5.2, RFC 8628 section 3.5). */
const CODES: Readonly<Record<string, ErrorCode>> = {
  access_denied: 'FORBIDDEN',
  expired_token: 'TIMED_OUT',
  invalid_client: 'UNAUTHORIZED',
  invalid_grant: 'UNAUTHORIZED',
  unauthorized_client: 'UNAUTHORIZED',
};

/** Converts a failure of openid-client, of the base client below it, or of a signal. */
function failure({ issuer }: OAuthService, error: unknown, signal?: AbortSignal): SregistryError {
  if (signal?.aborted) return abortError(signal, `logging in to ${issuer}`);
  const { cause, code, error: word, error_description: description } = error as OAuthFailure;
  if (isError(error)) return error;
  if (isError(cause)) return cause;
  if (code === 'OAUTH_TIMEOUT')
    return new SregistryError('TIMED_OUT', `${issuer}: nobody entered the code before it expired`, {
      cause: error,
    });
  const reason = [word, description].filter(Boolean).join(': ');
  return new SregistryError(
    CODES[word ?? ''] ?? 'SERVICE',
    `${issuer} refused to issue a token${reason && `: ${reason}`}`,
    {
      hint: 'Log in again, and grant the requested access',
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
