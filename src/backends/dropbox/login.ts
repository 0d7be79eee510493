/**
 * Logins to Dropbox: a refresh token for an app, which `sregistry auth login` gets with a code that the person pastes; or an access
 * token. The Python client's tokens, which do not expire, are of the second kind. A login counts more: Dropbox no longer issues such
 * tokens, so it is the newer one.
 */
import { isError, SregistryError } from '../../base/errors.ts';
import type { LoginContext, LoginUi, OptionChanges } from '../backend.ts';
import { createHttpClient, type HttpSettings } from '../http.ts';
import { refreshedTokens } from '../kit/refresh-tokens.ts';
import { bearerCredentials, bearerHeader } from '../kit/token.ts';
import { createOAuth, type OAuthService } from '../oauth.ts';
import { loginByPastedCode } from '../oauth-login.ts';
import { type DropboxContext, hostsOf } from './context.ts';
import type { declaration } from './declaration.ts';

type Login = LoginContext<typeof declaration.options>;

/** What the driver does ("Scopes"). */
const SCOPE =
  'account_info.read files.metadata.read files.content.read files.content.write sharing.read sharing.write';

const CREATE_HINT =
  'create an app with access to files at https://www.dropbox.com/developers/apps; its page shows the app key';

function serviceOf({ name, options }: Pick<Login, 'name' | 'options'>, clientId: string): OAuthService {
  const { www, api } = hostsOf(name, options.base);
  return {
    issuer: www,
    authorizationEndpoint: `${www}/oauth2/authorize`,
    tokenEndpoint: `${api}/oauth2/token`,
    clientId,
    scope: SCOPE,
    // Without it, there is no refresh token.
    parameters: { token_access_type: 'offline' },
  };
}

/** The credentials of requests. */
export function dropboxCredentials(context: DropboxContext): Pick<HttpSettings, 'authorize' | 'updateToken'> {
  const { name, options, env } = context;
  const { token, clientId, refreshToken } = options;
  if (refreshToken === undefined) {
    return {
      authorize: () => {
        if (token !== undefined) return bearerHeader(token);
        throw new SregistryError('UNAUTHORIZED', `${name}: nobody has logged in to Dropbox yet`, {
          hint: `sregistry auth login ${name}`,
        });
      },
    };
  }
  if (clientId === undefined)
    throw new SregistryError('SETTINGS', `${name}: refreshToken is set, but clientId is not`, {
      hint: 'set clientId to the key of the app that the login is for',
    });
  const service = serviceOf(context, clientId);
  const renew = async (login: string) => {
    await using oauth = await createOAuth(service, { env });
    return await oauth.refresh(login);
  };
  // Dropbox keeps a refresh token until it is revoked, so nothing has to be written.
  return bearerCredentials(refreshedTokens({ backend: name, refreshToken, file: undefined, renew }));
}

export async function logIn(context: Login, ui: LoginUi): Promise<OptionChanges> {
  const { name, options, env, signal } = context;
  const clientId =
    options.clientId ??
    (await ui.ask('App key, from the page of your app at https://www.dropbox.com/developers/apps:')).trim();
  if (clientId === '') throw new SregistryError('CANCELED', 'No app key was given', { hint: CREATE_HINT });
  const { refreshToken } = await loginByPastedCode(serviceOf(context, clientId), undefined, ui, {
    env,
    signal,
  });
  if (refreshToken === undefined)
    throw new SregistryError('SERVICE', `${name}: Dropbox issued no refresh token`, { hint: CREATE_HINT });
  return { ...(options.clientId === undefined && { clientId }), refreshToken };
}

/** Revokes the login. A token that somebody set stays valid: Dropbox would issue no other one. */
export async function logOut(context: Login): Promise<void> {
  const { name, options, env, signal } = context;
  const { clientId, refreshToken } = options;
  if (clientId === undefined || refreshToken === undefined) return;
  await using oauth = await createOAuth(serviceOf(context, clientId), { env, signal });
  const http = createHttpClient({ env });
  try {
    const { accessToken } = await oauth.refresh(refreshToken);
    // It takes the refresh token with it.
    const headers = bearerHeader(accessToken);
    await http.post(`${hostsOf(name, options.base).api}/2/auth/token/revoke`, { headers, signal });
  } catch (error) {
    if (!isError(error, 'UNAUTHORIZED')) throw error;
  } finally {
    await http.close();
  }
}
