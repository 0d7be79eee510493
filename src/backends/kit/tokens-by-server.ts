/**
 * Logins to services that consist of several resource servers, each with tokens of its own. One option holds the refresh tokens as
 * JSON, `{"<resource server>": "<refresh token>"}`. Renewed tokens are shared as refresh-tokens.ts does it, in one entry per server.
 */
import { isJsonObject } from '../../settings/json.ts';
import type { HttpSettings } from '../http.ts';
import type { Tokens } from '../oauth.ts';
import { type RefreshOptions, refreshedTokens } from './refresh-tokens.ts';
import { bearerCredentials } from './token.ts';

/** Refresh tokens by resource server. */
export type RefreshTokens = Readonly<Record<string, string>>;

/** The refresh tokens in the value of an option of type `json`. */
export function parseRefreshTokens(text: string): RefreshTokens {
  const value: unknown = JSON.parse(text);
  const entries = Object.entries(isJsonObject(value) ? value : {});
  return Object.fromEntries(
    entries.filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
  );
}

/** The refresh tokens in the answer to a login. */
export function refreshTokensIn({ others = [], ...tokens }: Tokens): RefreshTokens {
  const all = [tokens, ...others].flatMap(({ resourceServer, refreshToken }) =>
    resourceServer === undefined || refreshToken === undefined ? [] : [[resourceServer, refreshToken]],
  );
  return Object.fromEntries(all);
}

/** Settings of a base client that sends the tokens of a resource server; undefined without a login to it. */
export function credentialsOf(
  tokens: RefreshTokens,
  server: string,
  options: Omit<RefreshOptions, 'refreshToken' | 'entry'>,
): Required<Pick<HttpSettings, 'authorize' | 'updateToken'>> | undefined {
  const refreshToken = Object.hasOwn(tokens, server) ? tokens[server] : undefined;
  if (refreshToken === undefined) return undefined;
  return bearerCredentials(refreshedTokens({ ...options, refreshToken, entry: server }));
}
