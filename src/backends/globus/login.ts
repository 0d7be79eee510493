/**
 * Logins to Globus. Each service, and each collection whose files are read over HTTPS, has tokens of its own. A person grants all of
 * them at once in a browser and pastes the code that Globus shows. Which scopes to ask for depends on the collections, which only
 * Transfer can tell: without an earlier login there are two codes to paste.
 */
import { isError, SregistryError } from '../../base/errors.ts';
import { isJsonObject } from '../../settings/json.ts';
import { createSettings } from '../../settings/settings.ts';
import type { LoginContext, LoginUi, OptionChanges } from '../backend.ts';
import { createHttpClient, type HttpSettings, isLoopback } from '../http.ts';
import { forgetTokens } from '../kit/refresh-tokens.ts';
import {
  credentialsOf,
  parseRefreshTokens,
  type RefreshTokens,
  refreshTokensIn,
} from '../kit/tokens-by-server.ts';
import { createOAuth, type OAuthService } from '../oauth.ts';
import { loginByPastedCode } from '../oauth-login.ts';
import { declaration } from './declaration.ts';
import { isId } from './places.ts';
import { type Endpoint, Transfer } from './transfer.ts';

type GlobusLoginContext = LoginContext<typeof declaration.options>;

/** The resource server of Transfer. Those of collections are their ids. */
export const TRANSFER = 'transfer.api.globus.org';
const TRANSFER_SCOPE = `urn:globus:auth:scope:${TRANSFER}:all`;
const SCOPES = 'https://auth.globus.org/scopes/';

/** Logins by resource server. The Python client stores the whole answer for one. */
export function parseLogin(text: string | undefined): RefreshTokens {
  if (text === undefined) return {};
  const value: unknown = JSON.parse(text);
  const { refresh_token: token, resource_server: server } = isJsonObject(value) ? value : {};
  if (typeof token !== 'string') return parseRefreshTokens(text);
  return { [typeof server === 'string' ? server : TRANSFER]: token };
}

/** Settings of a base client for a resource server; undefined without a login to it. */
export function credentialsFor(
  server: string,
  context: GlobusLoginContext,
): Pick<HttpSettings, 'authorize' | 'updateToken'> | undefined {
  const { name, options, env } = context;
  const renew = async (token: string) => {
    await using oauth = await createOAuth(serviceOf(context, TRANSFER_SCOPE), { env });
    return await oauth.refresh(token);
  };
  return credentialsOf(parseLogin(options.login), server, {
    backend: name,
    file: tokensFile(context),
    renew,
  });
}

/** The client of Transfer, with the login that the options hold. */
export function transferOf(context: GlobusLoginContext): Transfer {
  const { name, options, env } = context;
  const base = secureBase(name, options.transferBase ?? declaration.options.transferBase.default);
  const hints = { UNAUTHORIZED: `log in with \`sregistry auth login ${name}\`` };
  return new Transfer(name, base, { env, hints, ...credentialsFor(TRANSFER, context) });
}

export async function logIn(context: GlobusLoginContext, ui: LoginUi): Promise<OptionChanges> {
  const { endpoint } = context.options;
  const earlier = parseLogin(context.options.login);
  const more = await ui.ask(
    `Id of ${endpoint === undefined ? 'a' : 'a further'} collection to use, or nothing:`,
  );
  const named = [endpoint, ...more.split(/[\s,]+/), ...Object.keys(earlier)];
  const ids = [...new Set(named)].flatMap((id) => (id !== undefined && isId(id) ? [id] : []));
  let tokens = earlier;
  let endpoints = ids.length > 0 ? await lookUp(context, ids) : [];
  if (endpoints === undefined || ids.length === 0)
    tokens = { ...tokens, ...(await grant(context, ui, TRANSFER_SCOPE)) };
  if (endpoints === undefined) endpoints = await lookUp(withLogin(context, tokens), ids);
  if (endpoints === undefined)
    throw new SregistryError('UNAUTHORIZED', `${context.name}: Globus Transfer refused the new login`);
  const scope = scopesFor(endpoints);
  const isGranted = scope === TRANSFER_SCOPE && tokens !== earlier;
  if (!isGranted) tokens = { ...tokens, ...(await grant(context, ui, scope)) };
  const [only, ...others] = ids.filter((id) => more.includes(id));
  const isMeant = endpoint === undefined && only !== undefined && others.length === 0;
  return { login: JSON.stringify(tokens), ...(isMeant && { endpoint: only }) };
}

/** The scopes that these collections require. */
export function scopesFor(endpoints: readonly Endpoint[]): string {
  const access = endpoints.filter(({ needsDataAccess }) => needsDataAccess);
  const dependent = access.map(({ id }) => `*${SCOPES}${id}/data_access`).join(' ');
  const files = endpoints.filter(({ httpsServer }) => httpsServer !== undefined);
  return [
    dependent === '' ? TRANSFER_SCOPE : `${TRANSFER_SCOPE}[${dependent}]`,
    ...files.map(({ id }) => `${SCOPES}${id}/https`),
  ].join(' ');
}

/** What these endpoints are; undefined without a valid login to Transfer. */
async function lookUp(context: GlobusLoginContext, ids: readonly string[]): Promise<Endpoint[] | undefined> {
  if (parseLogin(context.options.login)[TRANSFER] === undefined) return undefined;
  const transfer = transferOf(context);
  try {
    return await Promise.all(ids.map((id) => transfer.endpoint(id, context.signal)));
  } catch (error) {
    if (isError(error, 'UNAUTHORIZED')) return undefined;
    throw error;
  } finally {
    await transfer.close();
  }
}

async function grant(context: GlobusLoginContext, ui: LoginUi, scope: string): Promise<RefreshTokens> {
  const service = serviceOf(context, scope);
  const { env, signal } = context;
  // The page that shows the code to whoever has no address to be redirected to ("Native App Flow").
  const page = new URL('/v2/web/auth-code', service.tokenEndpoint);
  const tokens = refreshTokensIn(await loginByPastedCode(service, page.href, ui, { env, signal }));
  if (tokens[TRANSFER] !== undefined) return tokens;
  throw new SregistryError('SERVICE', `${context.name}: Globus issued no refresh token for Transfer`);
}

const withLogin = (context: GlobusLoginContext, tokens: RefreshTokens): GlobusLoginContext => ({
  ...context,
  options: { ...context.options, login: JSON.stringify(tokens) },
});

/** Revokes all tokens of the login, and removes what is kept of it outside the settings. */
export async function logOut(context: GlobusLoginContext): Promise<void> {
  const { options, env, signal } = context;
  const { clientId, tokenEndpoint } = serviceOf(context, TRANSFER_SCOPE);
  const http = createHttpClient({ env });
  try {
    for (const text of [options.login, options.identity])
      for (const [entry, refreshToken] of Object.entries(parseLogin(text))) {
        const token = await forgetTokens({ refreshToken, file: tokensFile(context), entry });
        await http.post(`${tokenEndpoint}/revoke`, {
          body: String(new URLSearchParams({ token, client_id: clientId })),
          headers: { 'content-type': 'application/x-www-form-urlencoded' },
          idempotent: true,
          signal,
        });
      }
  } finally {
    await http.close();
  }
}

function serviceOf({ name, options }: GlobusLoginContext, scope: string): OAuthService {
  const base = secureBase(name, options.authBase ?? declaration.options.authBase.default);
  return {
    issuer: base.origin,
    authorizationEndpoint: new URL('/v2/oauth2/authorize', base).href,
    tokenEndpoint: new URL('/v2/oauth2/token', base).href,
    clientId: options.clientId ?? declaration.options.clientId.default,
    scope,
    parameters: { access_type: 'offline' },
  };
}

/** File for the tokens that were renewed. Undefined where the person has turned off the cache of credentials. */
function tokensFile({ name, env }: GlobusLoginContext): string | undefined {
  const { credentialCache } = createSettings({ instance: name, schema: declaration.options, env });
  return credentialCache && `${credentialCache}.json`;
}

/** Tokens do not travel in the clear. */
export function secureBase(name: string, text: string): URL {
  const url = URL.parse(text);
  if (url !== null && (url.protocol === 'https:' || isLoopback(url.host))) return url;
  throw new SregistryError('SETTINGS', `${name}: refusing to send a login to ${text} in the clear`, {
    hint: 'use an https address',
  });
}
