/**
 * Rotating refresh tokens. Many services issue a new refresh token with each renewal, and from then on treat the old one as stolen. So
 * all processes of this user share the newest one in a file, and a renewal holds the file's lock:
 *
 * 1. Take the lock, then read the file. If another process has renewed in the meantime, use its access token.
 * 2. Otherwise renew with the newest refresh token: the file's, else the one from the settings.
 * 3. If the service issued another refresh token, write it before using the access token. If not, write nothing: the token from the
 *    settings stays valid, and a value from the environment is not copied to disk.
 *
 * A damaged file counts as empty: nothing in it can be used, and no renewal would ever last.
 *
 * An entry records (by a hash) the login in the settings that it came from. After a new login, the entry is ignored.
 */
import { createHash } from 'node:crypto';
import { describeError, isError, SregistryError } from '../../base/errors.ts';
import { registerSecret } from '../../log/index.ts';
import { isJsonObject, type JsonObject, readJsonObject } from '../../settings/json.ts';
import { editJsonFile } from '../../settings/locked-file.ts';
import { warnOnce } from '../../settings/warn-once.ts';
import type { Tokens } from '../oauth.ts';
import type { AccessToken, ObtainToken } from './token.ts';

export interface RefreshOptions {
  /** Name of the backend, for messages. */
  readonly backend: string;
  /** The refresh token from the settings. */
  readonly refreshToken: string;
  /** File for rotated tokens. Undefined if none may be written: this process then keeps them in memory. */
  readonly file: string | undefined;
  /** Entry in the file, for a backend with several logins (one per resource server). Default `login`. */
  readonly entry?: string | undefined;
  /**
   * Asks the service for new tokens. Throws UNAUTHORIZED if the service rejects the refresh token. It is never aborted, as the answer
   * may hold the only valid refresh token. Only the base client's deadline ends it.
   */
  renew(refreshToken: string): Promise<Tokens>;
}

/** An entry of the file. */
interface Stored {
  /** {@link originOf} the login in the settings that these tokens came from. */
  readonly origin: string;
  readonly refreshToken: string;
  readonly accessToken: string;
  /** When the access token expires, in milliseconds since 1970; undefined if the service does not say. */
  readonly expires?: number | undefined;
}

/** Milliseconds to wait for the renewal of another process, which may take as long as a request's deadline. */
const TIME_LIMIT = 130_000;
/** Seconds to use an access token if the service does not state its lifetime. */
const DEFAULT_LIFETIME = 3600;
/** Seconds that another process's access token must still be valid to be used here. */
const WORTHWHILE = 60;

/** Obtains access tokens with a refresh token, for {@link bearerCredentials} or a {@link TokenCache}. */
export function refreshedTokens(options: RefreshOptions): ObtainToken {
  const { file, entry = 'login' } = options;
  const origin = originOf(options.refreshToken);
  registerSecret(options.refreshToken);
  /** Tokens that this process got but could not write to the file. */
  let unsaved: Stored | undefined;
  /** The last access token that this process used. A request for another one means that the service refused it. */
  let used: string | undefined;

  const renewFrom = async (known: Stored | undefined): Promise<Stored> => {
    const refreshToken = known?.refreshToken ?? options.refreshToken;
    const tokens = await options.renew(refreshToken);
    return {
      origin,
      refreshToken: tokens.refreshToken ?? refreshToken,
      accessToken: tokens.accessToken,
      expires: tokens.expires?.getTime(),
    };
  };

  /** The tokens to use next: those in the file if they are still valid, else renewed ones. */
  const next = async (stored: Stored | undefined): Promise<Stored> => {
    const known = unsaved ?? stored;
    if (known !== undefined && known.accessToken !== used && secondsLeft(known) > WORTHWHILE) return known;
    try {
      return await renewFrom(known);
    } catch (error) {
      throw isError(error, 'UNAUTHORIZED') ? loggedOut(options.backend, error) : error;
    }
  };

  const obtainAlone = async (): Promise<Stored> => {
    unsaved = await next(undefined);
    return unsaved;
  };

  const obtainShared = async (path: string, signal: AbortSignal): Promise<Stored> => {
    let tokens: Stored | undefined;
    try {
      await editJsonFile(
        path,
        async (before) => {
          signal.throwIfAborted();
          const stored = storedIn(before, entry, origin);
          tokens = await next(stored);
          const isRotated = tokens.refreshToken !== (stored?.refreshToken ?? options.refreshToken);
          return isRotated ? { ...before, [entry]: tokens } : before;
        },
        { timeout: TIME_LIMIT, replaceMalformed: true },
      );
      unsaved = undefined;
    } catch (error) {
      // If the file cannot be written, keep the new tokens in memory: the old refresh token is no longer valid.
      if (!isError(error, 'SETTINGS')) throw error;
      warnOnce(
        `${options.backend}: sregistry can keep the renewed login in memory only. ${describeError(error)}`,
      );
      if (tokens === undefined) return obtainAlone();
      unsaved = tokens;
    }
    return tokens as Stored;
  };

  return async (signal) => {
    const tokens = await (file === undefined ? obtainAlone() : obtainShared(file, signal));
    used = tokens.accessToken;
    registerSecret(tokens.refreshToken);
    return toAccessToken(tokens);
  };
}

/** For a `logout`: removes the tokens of this login from the file, and returns the newest refresh token, which is the one to revoke. */
export async function forgetTokens({
  refreshToken,
  file,
  entry = 'login',
}: Pick<RefreshOptions, 'refreshToken' | 'file' | 'entry'>): Promise<string> {
  const origin = originOf(refreshToken);
  let newest: string | undefined;
  if (file !== undefined && (await readJsonObject(file)) !== undefined)
    await editJsonFile(file, (before) => {
      newest = storedIn(before, entry, origin)?.refreshToken;
      const { [entry]: _, ...others } = before;
      return newest === undefined ? before : others;
    });
  return newest ?? refreshToken;
}

function storedIn(file: JsonObject, entry: string, origin: string): Stored | undefined {
  const stored = Object.hasOwn(file, entry) ? file[entry] : undefined;
  if (!isJsonObject(stored) || stored.origin !== origin) return undefined;
  const { refreshToken, accessToken, expires } = stored;
  if (typeof refreshToken !== 'string' || typeof accessToken !== 'string') return undefined;
  return { origin, refreshToken, accessToken, ...(typeof expires === 'number' && { expires }) };
}

/** Identifies a refresh token without revealing it. */
function originOf(refreshToken: string): string {
  return createHash('sha256').update(refreshToken).digest('hex');
}

/** Seconds until the access token expires; 0 if unknown, so that no process trusts another one's token. */
function secondsLeft({ expires }: Stored): number {
  return expires === undefined ? 0 : (expires - Date.now()) / 1000;
}

function toAccessToken(tokens: Stored): AccessToken {
  const lifetime = tokens.expires === undefined ? DEFAULT_LIFETIME : secondsLeft(tokens);
  return { value: tokens.accessToken, lifetime };
}

function loggedOut(backend: string, cause: SregistryError): SregistryError {
  return new SregistryError('UNAUTHORIZED', `${backend}: the service no longer accepts the stored login`, {
    hint: `log in again with: sregistry auth login ${backend}`,
    cause,
    status: cause.status,
  });
}
