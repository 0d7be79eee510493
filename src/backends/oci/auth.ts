/**
 * Authentication as registries ask for it: the first refusal (401) says how. `Basic` gets user and password with every
 * request; `Bearer` names a token service, which hands out short-lived tokens per scope for a login, or for none.
 * Tokens are kept per scope.
 *
 * Protocol: "Token Authentication Specification" and "OAuth2 Token Authentication" of CNCF Distribution.
 */
import { isError, SregistryError } from '../../base/errors.ts';
import { type Headers, type HttpClient, isLoopback, type Refusal, showUrl } from '../http.ts';
import { type AccessToken, bearerHeader, TokenCache } from '../kit/token.ts';
import { type Challenge, parseChallenges } from './challenge.ts';

/** How one logs in to a registry. */
export type Login =
  | { readonly username: string; readonly password: string }
  /** A refresh token, to be traded for access tokens. */
  | { readonly identityToken: string }
  /** A bearer token, to be sent as it is. */
  | { readonly registryToken: string };

export interface AuthSettings {
  /** The registry. */
  readonly origin: URL;
  /** For the requests to token services. */
  readonly http: HttpClient;
  readonly logins: Logins;
}

export interface Logins {
  /** The login for a repository (`''` for the registry as a whole), or undefined where there is none. */
  find(repository: string, signal?: AbortSignal): Promise<Login | undefined>;
  /** One was refused: look them up again next time, as the user may have logged in anew. */
  forget(): void;
}

export interface Auth {
  authorize(request: { method: string; url: URL; signal?: AbortSignal | undefined }): Promise<Headers>;
  updateToken(refusal: Refusal): Promise<boolean>;
}

/** Seconds that a token lives where the service does not say (token specification, `expires_in`). */
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
 * The scopes of a request to a registry, as "Requesting a token" has them: `repository:demo/large:pull`, `registry:catalog:*`. None for
 * `/v2/` itself. A mount from another repository needs to pull there, too.
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

/** The address of the token service. A login given to a registry over https is not sent on in the clear. */
function realmOf(challenge: Challenge, origin: URL): URL {
  const realm = URL.parse(challenge.parameters.realm ?? '');
  if (realm === null || !/^https?:$/.test(realm.protocol))
    throw new SregistryError('SERVICE', `${origin.host}: its token service has no usable address`);
  if (realm.protocol === 'http:' && origin.protocol === 'https:' && !isLoopback(realm.host))
    throw new SregistryError('SERVICE', `${origin.host}: its token service ${showUrl(realm)} is plain http`);
  return realm;
}

/** What a token is asked for, of whom, and until when. */
interface Question {
  readonly realm: URL;
  readonly service: string | undefined;
  readonly scopes: readonly string[];
  readonly signal: AbortSignal;
}

async function fetchToken(
  http: HttpClient,
  question: Question,
  login: Login | undefined,
): Promise<AccessToken> {
  const { realm } = question;
  try {
    return parseToken((await ask(http, question, login)).json(), realm);
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

/** GET with a basic login or none; POST to trade a refresh token, as OAuth2 has it. */
function ask(http: HttpClient, { realm, service, scopes, signal }: Question, login: Login | undefined) {
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

/** `token`, or `access_token` as OAuth2 has it; both if a service wants to please everybody. */
function parseToken(value: unknown, realm: URL): AccessToken {
  const { token, access_token: access, expires_in: seconds } = (value ?? {}) as Record<string, unknown>;
  const text = [token, access].find((candidate) => typeof candidate === 'string' && candidate !== '');
  if (typeof text !== 'string' || /[^\x21-\x7e]/.test(text))
    throw new SregistryError('SERVICE', `${showUrl(realm)}: an answer without a token`);
  return { value: text, lifetime: typeof seconds === 'number' && seconds > 0 ? seconds : DEFAULT_LIFETIME };
}
