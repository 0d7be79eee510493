/**
 * Logins to Google Drive. The credentials file says which kind: an OAuth client, to which a person logs in with a browser, or a service
 * account (or another identity that Google's library knows).
 *
 * An OAuth client gets a refresh token, which `sregistry auth login` keeps. A person who has used the Python client has one already, in
 * that client's cache of credentials (`~/.singularity/.sregistry/google-drive`, as oauth2client's Storage writes it).
 */
import { rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { resolve } from 'node:path';
import { isError, SregistryError } from '../../base/errors.ts';
import { registerSecret } from '../../log/index.ts';
import { isJsonObject, type JsonObject, readJsonObject } from '../../settings/json.ts';
import { createSettings } from '../../settings/settings.ts';
import type { LoginContext, LoginUi, OptionChanges } from '../backend.ts';
import { createHttpClient, type HttpSettings, isLoopback } from '../http.ts';
import { googleCredentials } from '../kit/google-credentials.ts';
import { forgetTokens, refreshedTokens } from '../kit/refresh-tokens.ts';
import { Renewable } from '../kit/renewable.ts';
import { bearerCredentials } from '../kit/token.ts';
import { createOAuth, type OAuthService } from '../oauth.ts';
import { loginByRedirect } from '../oauth-login.ts';
import type { DriveContext } from './context.ts';
import { declaration } from './declaration.ts';

type DriveLoginContext = LoginContext<typeof declaration.options>;
type Authorization = Pick<HttpSettings, 'authorize' | 'updateToken'>;

const SCOPES = 'https://www.googleapis.com/auth/';

const CREATE_HINT =
  'create an OAuth client of type "Desktop app" at https://console.cloud.google.com/apis/credentials and download its JSON file';

/** The credentials of requests. The file is read when the first request needs it. */
export function driveCredentials(context: DriveContext): Authorization {
  const chosen = new Renewable<Authorization>({ lifetime: Number.POSITIVE_INFINITY });
  const get = () => chosen.get('', () => chooseCredentials(context));
  return {
    authorize: async (request) => (await get()).authorize?.(request) ?? {},
    updateToken: async (refusal) => (await get()).updateToken?.(refusal) ?? false,
  };
}

async function chooseCredentials({ name, options, env }: DriveContext): Promise<Authorization> {
  const { credentials: file, scope = 'drive' } = options;
  const service = await oauthClientIn(file, scope);
  if (service === undefined) {
    const hint = `check ${file}, the file with the credentials of ${name}`;
    return googleCredentials({ driver: declaration, scope: SCOPES + scope, file, hint });
  }
  const paths = pathsOf(name, env);
  const refreshToken = options.refreshToken ?? (await pythonLogin(paths.python, service));
  if (refreshToken === undefined)
    throw new SregistryError('UNAUTHORIZED', `${name}: nobody has logged in to Google Drive yet`, {
      hint: `sregistry auth login ${name}`,
    });
  const renew = async (token: string) => {
    await using oauth = await createOAuth(service, { env });
    return await oauth.refresh(token);
  };
  return bearerCredentials(refreshedTokens({ backend: name, refreshToken, file: paths.tokens, renew }));
}

/** The OAuth client in a credentials file; undefined if the file holds another kind of credentials. */
async function oauthClientIn(file: string, scope: string): Promise<OAuthService | undefined> {
  const content = await readJsonObject(file);
  if (content === undefined)
    throw new SregistryError('SETTINGS', `There is no file ${file} with Google credentials`, {
      hint: CREATE_HINT,
    });
  // oauth2client accepts both kinds of clients ("flow_from_clientsecrets").
  const client = content.installed ?? content.web;
  if (client === undefined && typeof content.type === 'string') return undefined;
  const { client_id: clientId, client_secret: clientSecret, ...uris } = isJsonObject(client) ? client : {};
  const [auth, token] = [addressIn(uris.auth_uri), addressIn(uris.token_uri)];
  if (typeof clientId !== 'string' || auth === undefined || token === undefined)
    throw new SregistryError('SETTINGS', `${file} holds neither an OAuth client nor a service account`, {
      hint: CREATE_HINT,
    });
  if (typeof clientSecret === 'string') registerSecret(clientSecret);
  return {
    issuer: auth.origin,
    authorizationEndpoint: auth.href,
    tokenEndpoint: token.href,
    clientId,
    clientSecret: typeof clientSecret === 'string' ? clientSecret : undefined,
    scope: SCOPES + scope,
    // Google gives a refresh token only when it asks the person ("Using OAuth 2.0 for Web Server Applications").
    parameters: { access_type: 'offline', prompt: 'consent' },
  };
}

function addressIn(text: unknown): URL | undefined {
  const url = typeof text === 'string' ? URL.parse(text) : null;
  return url && (url.protocol === 'https:' || isLoopback(url.host)) ? url : undefined;
}

interface LoginPaths {
  /** The Python client's login. */
  readonly python: string | undefined;
  /** Rotated tokens. */
  readonly tokens: string | undefined;
}

/** Undefined where the person has turned off the cache of credentials. */
function pathsOf(client: string, env: NodeJS.ProcessEnv): LoginPaths {
  const { credentialCache } = createSettings({ instance: client, schema: declaration.options, env });
  return { python: credentialCache, tokens: credentialCache && `${credentialCache}.json` };
}

/** The refresh token that the Python client got for the same OAuth client; it is worth nothing to another one. */
async function pythonLogin(
  file: string | undefined,
  { clientId }: OAuthService,
): Promise<string | undefined> {
  const login: JsonObject = (file !== undefined && (await readJsonObject(file))) || {};
  const { client_id: owner, refresh_token: token, invalid } = login;
  return owner === clientId && invalid !== true && typeof token === 'string' ? token : undefined;
}

/** Logs in to the OAuth client with a browser. Other credentials need no login. */
export async function logIn(
  { name, options, env, signal }: DriveLoginContext,
  ui: LoginUi,
): Promise<OptionChanges> {
  const { credentials: known, scope = 'drive' } = options;
  const file = known ?? (await askForFile(ui, env));
  const changes = known === undefined ? { credentials: file } : {};
  const service = await oauthClientIn(file, scope);
  if (service === undefined) return changes;
  const { refreshToken } = await loginByRedirect(service, ui, { env, signal });
  if (refreshToken === undefined)
    throw new SregistryError('SERVICE', `${name}: Google issued no refresh token`, {
      hint: 'remove the access of sregistry at https://myaccount.google.com/connections, then log in again',
    });
  return { ...changes, refreshToken };
}

/** The whole path, as the login is used in other folders too. No shell has expanded `~` in the answer. */
async function askForFile(ui: LoginUi, env: NodeJS.ProcessEnv): Promise<string> {
  const answer = (await ui.ask('JSON file of the OAuth client or service account:')).trim();
  if (answer === '') throw new SregistryError('CANCELED', 'No file was named', { hint: CREATE_HINT });
  return resolve(answer.replace(/^~(?=\/|$)/, env.HOME || homedir()));
}

/** Revokes the login, and removes what is kept of it outside the settings. */
export async function logOut({ name, options, env, signal }: DriveLoginContext): Promise<void> {
  const { credentials, scope = 'drive' } = options;
  const service = credentials === undefined ? undefined : await oauthClientIn(credentials, scope);
  if (service === undefined) return;
  const paths = pathsOf(name, env);
  const python = await pythonLogin(paths.python, service);
  const kept = options.refreshToken ?? python;
  const newest = kept && (await forgetTokens({ refreshToken: kept, file: paths.tokens }));
  const tokens = new Set([newest, python].filter((token) => token !== undefined));
  if (python !== undefined && paths.python !== undefined) await rm(paths.python, { force: true });
  for (const token of tokens) await revoke(service, token, { env, signal });
}

/** `revoke` beside the endpoint that issues tokens ("Revoking a token", RFC 7009). A token that is not valid any more is no error. */
async function revoke(
  { tokenEndpoint }: OAuthService,
  token: string,
  { env, signal }: Pick<DriveLoginContext, 'env' | 'signal'>,
): Promise<void> {
  const http = createHttpClient({ env });
  try {
    await http.post(new URL('revoke', tokenEndpoint), {
      body: String(new URLSearchParams({ token })),
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      idempotent: true,
      signal,
    });
  } catch (error) {
    if (!isError(error) || error.status !== 400) throw error;
  } finally {
    await http.close();
  }
}
