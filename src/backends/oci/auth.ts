/**
 * Logs in as a registry demands: its first refusal (401) says how. For `Basic`, every request carries user and password. `Bearer`
 * names a token service, which issues short-lived tokens per scope, with a login or without one. Keeps the tokens of each scope.
 *
 * Protocol: "Token Authentication Specification" and "OAuth2 Token Authentication" of CNCF Distribution.
 */
import { isError, SregistryError } from '../../base/errors.ts';
import { type Headers, type HttpClient, isLoopback, type Refusal, showUrl } from '../http.ts';
import { type AccessToken, bearerHeader, TokenCache } from '../kit/token.ts';
import { type Challenge, parseChallenges } from './challenge.ts';

/** A login to a registry. */
export type Login =
  | { readonly username: string; readonly password: string }
  /** A refresh token, which the token service exchanges for access tokens. */
  | { readonly identityToken: string }
  /** A bearer token, sent unchanged. */
  | { readonly registryToken: string };

export interface AuthSettings {
  /** The registry. */
  readonly origin: URL;
  /** For the requests to token services. */
  readonly http: HttpClient;
  readonly logins: Logins;
}

export interface Logins {
  /** The login for a repository (`''`: for the whole registry), or undefined without one. */
  find(repository: string, signal?: AbortSignal): Promise<Login | undefined>;
  /** Looks logins up again next time: one was refused, and the user may have logged in since. */
  forget(): void;
}

export interface Auth {
  authorize(request: { method: string; url: URL; signal?: AbortSignal | undefined }): Promise<Headers>;
  updateToken(refusal: Refusal): Promise<boolean>;
}

/** Lifetime of a token in seconds if the service does not state one (token specification, `expires_in`). */
const DEFAULT_LIFETIME = 60;
/** Name of this program to token services. */
const CLIENT_ID = 'sregistry';

export function createAuth({ origin, http, logins }: AuthSettings): Auth {
  const tokens = new TokenCache();
  let isBasic = false;

  const obtain = async (
    scopes: string[],
    challenge: Challenge,
    signal: AbortSignal,
  ): Promise<AccessToken> => {
    const login = await logins.find(repositoryOf(scopes), signal);
    if (login !== undefined && 'registryToken' in login)
      return { value: login.registryToken, lifetime: Number.POSITIVE_INFINITY };
    try {
      const { service } = challenge.parameters;
      return await fetchToken(http, { realm: realmOf(challenge, origin), service, scopes, signal }, login);
    } catch (error) {
      if (isError(error, 'UNAUTHORIZED')) logins.forget();
      throw error;
    }
  };

  return {
    authorize: async ({ method, url, signal }) => {
      const scopes = scopesOf(method, url);
      if (isBasic) return basicHeader(await logins.find(repositoryOf(scopes), signal));
      return bearerHeader(tokens.peek(scopes.join(' ')));
    },

    updateToken: async ({ headers, method, url, credentials, signal }) => {
      const challenges = parseChallenges(headers['www-authenticate'] ?? '');
      const own = scopesOf(method, url);
      const bearer = challenges.find(({ scheme, parameters }) => scheme === 'bearer' && parameters.realm);
      if (bearer === undefined) {
        isBasic = challenges.some(({ scheme }) => scheme === 'basic');
        if (!isBasic) return false;
        if (credentials.authorization !== undefined) logins.forget();
        return basicHeader(await logins.find(repositoryOf(own), signal)).authorization !== undefined;
      }
      const refused = credentials.authorization?.replace(/^Bearer /, '');
      const wanted = [...new Set([...(bearer.parameters.scope?.split(' ') ?? []), ...own])].filter(Boolean);
      const renew = (flight: AbortSignal) => obtain(wanted, bearer, flight);
      return (await tokens.replace(own.join(' '), refused, renew, signal)) !== refused;
    },
  };
}

const REPOSITORY_PATH = /^\/v2\/(.+)\/(?:manifests|blobs|tags|referrers)\/[^?]*$/;

/**
 * The scopes of a request to a registry, written as in "Requesting a token": `repository:demo/large:pull`, `registry:catalog:*`.
 * `/v2/` needs none. A mount from another repository also needs to pull there.
 */
export function scopesOf(method: string, url: URL): string[] {
  if (url.pathname === '/v2/_catalog') return ['registry:catalog:*'];
  const repository = REPOSITORY_PATH.exec(url.pathname)?.[1];
  if (repository === undefined) return [];
  const from = url.searchParams.get('mount') === null ? null : url.searchParams.get('from');
  return [
    `repository:${repository}:${actionsOf(method)}`,
    ...(from === null ? [] : [`repository:${from}:pull`]),
  ];
}

function actionsOf(method: string): string {
  if (method === 'GET' || method === 'HEAD') return 'pull';
  return method === 'DELETE' ? 'delete' : 'pull,push';
}

function repositoryOf(scopes: readonly string[]): string {
  return /^repository:(.+):[^:]*$/.exec(scopes[0] ?? '')?.[1] ?? '';
}

function basicHeader(login: Login | undefined): Headers {
  if (login === undefined || !('username' in login)) return {};
  return { authorization: `Basic ${Buffer.from(`${login.username}:${login.password}`).toString('base64')}` };
}

/** The address of the token service. Throws SERVICE if it would get the login of an https registry over plain http. */
function realmOf(challenge: Challenge, origin: URL): URL {
  const realm = URL.parse(challenge.parameters.realm ?? '');
  if (realm === null || !/^https?:$/.test(realm.protocol))
    throw new SregistryError('SERVICE', `${origin.host}: it names a token service without a usable address`);
  if (realm.protocol === 'http:' && origin.protocol === 'https:' && !isLoopback(realm.host))
    throw new SregistryError('SERVICE', `${origin.host}: token service ${showUrl(realm)} uses plain http`);
  return realm;
}

/** A request for a token. */
interface TokenRequest {
  readonly realm: URL;
  readonly service: string | undefined;
  readonly scopes: readonly string[];
  readonly signal: AbortSignal;
}

async function fetchToken(
  http: HttpClient,
  request: TokenRequest,
  login: Login | undefined,
): Promise<AccessToken> {
  const { realm } = request;
  try {
    return parseToken((await ask(http, request, login)).json(), realm);
  } catch (error) {
    if (!isError(error, 'UNAUTHORIZED', 'FORBIDDEN') || login === undefined) throw error;
    const who = 'username' in login ? `the login of ${login.username}` : 'the stored login';
    throw new SregistryError('UNAUTHORIZED', `${showUrl(realm)} refuses ${who}`, {
      hint: 'log in again with `sregistry auth login`, `apptainer registry login` or `docker login`',
      cause: error,
      status: error.status,
    });
  }
}

/** Sends a GET with a basic login or without one, or a POST to exchange a refresh token, as in OAuth2. */
function ask(http: HttpClient, { realm, service, scopes, signal }: TokenRequest, login: Login | undefined) {
  const form = new URLSearchParams({ client_id: CLIENT_ID, ...(service !== undefined && { service }) });
  if (login !== undefined && 'identityToken' in login) {
    form.set('grant_type', 'refresh_token');
    form.set('service', service ?? '');
    form.set('scope', scopes.join(' '));
    form.set('refresh_token', login.identityToken);
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    return http.post(realm, { body: form.toString(), headers, signal });
  }
  const url = new URL(realm);
  for (const [name, value] of form) url.searchParams.set(name, value);
  for (const scope of scopes) url.searchParams.append('scope', scope);
  return http.get(url, { headers: basicHeader(login), signal });
}

/** Reads `token`, or `access_token` as in OAuth2; a service may send both. */
function parseToken(value: unknown, realm: URL): AccessToken {
  const { token, access_token: access, expires_in: seconds } = (value ?? {}) as Record<string, unknown>;
  const text = [token, access].find((candidate) => typeof candidate === 'string' && candidate !== '');
  if (typeof text !== 'string' || /[^\x21-\x7e]/.test(text))
    throw new SregistryError('SERVICE', `${showUrl(realm)}: the reply has no token`);
  return { value: text, lifetime: typeof seconds === 'number' && seconds > 0 ? seconds : DEFAULT_LIFETIME };
}
