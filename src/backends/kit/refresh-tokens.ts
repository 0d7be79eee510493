/**
 * Logins that change when they are used: many services give a new refresh token with each renewal and take the old one for
 * stolen from then on. So the newest one is kept in a file that all processes of this user share, and a renewal holds the
 * file's lock:
 *
 * 1. Take the lock, then read the file. Another process may have renewed in the meantime: its access token is used as it is.
 * 2. Else renew with the newest refresh token there is: the file's, else the one of the settings.
 * 3. Where the service gave another refresh token, write it before the access token is used. Where it gave none, nothing is
 *    written: what the settings hold stays good, and a value from the environment is not copied to disk.
 *
 * An entry says which login of the settings it descends from (by a hash). After a new login the entry counts for nothing.
 */
import { createHash } from 'node:crypto';
import { describeError, isError, SregistryError } from '../../base/errors.ts';
import { registerSecret } from '../../log/index.ts';
import { isJsonObject, type JsonObject } from '../../settings/json.ts';
import { editJsonFile } from '../../settings/locked-file.ts';
import { warnOnce } from '../../settings/warn-once.ts';
import type { Tokens } from '../oauth.ts';
import type { AccessToken, ObtainToken } from './token.ts';

export interface RefreshOptions {
  /** Name of the backend, for messages. */
  readonly backend: string;
  /** The refresh token of the settings. */
  readonly refreshToken: string;
  /** Where rotated tokens are kept. Undefined where nothing may be: then they live in this process only. */
  readonly file: string | undefined;
  /** Entry in the file, where a backend has several logins (one for each resource server). Default `login`. */
  readonly entry?: string | undefined;
  /**
   * Asks the service for new tokens. UNAUTHORIZED where it does not take the refresh token. It is never aborted, as the answer
   * may hold the only refresh token that is still good: the base client's deadline ends it.
   */
  renew(refreshToken: string): Promise<Tokens>;
}

/** What an entry of the file holds. */
interface Stored {
  /** {@link originOf} the login of the settings that these tokens descend from. */
  readonly origin: string;
  readonly refreshToken: string;
  readonly accessToken: string;
  /** Milliseconds since 1970 at which the access token ends; undefined where the service does not say. */
  readonly expires?: number | undefined;
}

/** Milliseconds that a process waits for another one's renewal, which may take the deadline of a request. */
const PATIENCE = 130_000;
/** Seconds that an access token is used where the service does not say how long it lives. */
const DEFAULT_LIFETIME = 3600;
/** Seconds that an access token of another process must still live to be taken over. */
const WORTHWHILE = 60;

/** Obtains access tokens with a refresh token, for {@link bearerCredentials} or a {@link TokenCache}. */
export function refreshedTokens(options: RefreshOptions): ObtainToken {
  const { file, entry = 'login' } = options;
  const origin = originOf(options.refreshToken);
  registerSecret(options.refreshToken);
  /** What this process got and could not write. */
  let unsaved: Stored | undefined;
  /** The access token that this process has used so far: to be asked for another one means that it is worthless. */
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

  /** The next tokens, after those that the file holds; itself where they are still good. */
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
        { patience: PATIENCE },
      );
      unsaved = undefined;
    } catch (error) {
      // Where the file cannot be written, what the service gave is not thrown away: the old token is used up.
      if (!isError(error, 'SETTINGS')) throw error;
      warnOnce(`${options.backend}: its login is kept in memory only. ${describeError(error)}`);
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

function storedIn(file: JsonObject, entry: string, origin: string): Stored | undefined {
  const stored = Object.hasOwn(file, entry) ? file[entry] : undefined;
  if (!isJsonObject(stored) || stored.origin !== origin) return undefined;
  const { refreshToken, accessToken, expires } = stored;
  if (typeof refreshToken !== 'string' || typeof accessToken !== 'string') return undefined;
  return { origin, refreshToken, accessToken, ...(typeof expires === 'number' && { expires }) };
}

/** Names a refresh token without telling it. */
function originOf(refreshToken: string): string {
  return createHash('sha256').update(refreshToken).digest('hex');
}

/** Seconds that the access token lives; 0 where it is unknown, so that no other process's is taken over on trust. */
function secondsLeft({ expires }: Stored): number {
  return expires === undefined ? 0 : (expires - Date.now()) / 1000;
}

function toAccessToken(tokens: Stored): AccessToken {
  const lifetime = tokens.expires === undefined ? DEFAULT_LIFETIME : secondsLeft(tokens);
  return { value: tokens.accessToken, lifetime };
}

function loggedOut(backend: string, cause: SregistryError): SregistryError {
  return new SregistryError('UNAUTHORIZED', `${backend}: the service no longer accepts the stored login`, {
    hint: `log in again: sregistry auth login ${backend}`,
    cause,
    status: cause.status,
  });
}
