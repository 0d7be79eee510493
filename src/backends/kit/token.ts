/**
 * Access tokens: obtained when a request needs one, used until shortly before they expire, and replaced once if the service refuses
 * them. One call obtains the token for all waiting requests. For services where one token serves all requests,
 * {@link bearerCredentials} builds `authorize` and `updateToken` of the base client. For a service with one token per scope, use a
 * {@link TokenCache}.
 */
import { registerSecret } from '../../log/index.ts';
import type { Headers, HttpSettings } from '../http.ts';
import { type Lookup, Renewable } from './renewable.ts';

export interface AccessToken {
  /** Sent as `Authorization: Bearer <value>`. */
  readonly value: string;
  /** Seconds from now until it expires; Infinity if it does not expire. */
  readonly lifetime: number;
}

/** Obtains a token from the service. The signal fires when nobody waits for the token any more. */
export type ObtainToken = Lookup<AccessToken>;

/** Seconds before its expiry from which a token is no longer used: clocks differ, and requests take time. */
const MARGIN = 10;

/** Tokens by scope, or by another key that the service uses. */
export class TokenCache {
  // A token with a lifetime below the margin is used for a second instead of never.
  readonly #tokens = new Renewable<AccessToken>({
    lifetime: ({ lifetime }) => Math.max(1, lifetime - MARGIN) * 1000,
  });

  /** The token of a scope, if one is known. */
  peek(scope: string): string | undefined {
    return this.#tokens.peek(scope)?.value;
  }

  /** The token of a scope; obtains one if none is known. Throws the errors of `obtain`. */
  async get(scope: string, obtain: ObtainToken, signal?: AbortSignal): Promise<string> {
    return (await this.#tokens.get(scope, registered(obtain), signal)).value;
  }

  /** A token other than `refused`; obtains one unless another request already did. Throws the errors of `obtain`. */
  async replace(
    scope: string,
    refused: string | undefined,
    obtain: ObtainToken,
    signal?: AbortSignal,
  ): Promise<string> {
    const known = this.#tokens.peek(scope);
    const worthless = known?.value === refused ? known : undefined;
    return (await this.#tokens.replace(scope, worthless, registered(obtain), signal)).value;
  }

  forget(): void {
    this.#tokens.forget();
  }
}

/** Wraps `obtain` so that its tokens are hidden in messages and traces. */
function registered(obtain: ObtainToken): ObtainToken {
  return async (signal) => {
    const token = await obtain(signal);
    registerSecret(token.value, token.lifetime);
    return token;
  };
}

export function bearerHeader(token: string | undefined): Headers {
  return token === undefined ? {} : { authorization: `Bearer ${token}` };
}

/** The cache key if a service has only one token. */
const ONLY = '';

/** `authorize` and `updateToken` of the base client, for a service where one token serves all requests. */
export function bearerCredentials(
  obtain: ObtainToken,
): Required<Pick<HttpSettings, 'authorize' | 'updateToken'>> {
  const tokens = new TokenCache();
  return {
    authorize: async ({ signal }) => bearerHeader(await tokens.get(ONLY, obtain, signal)),
    updateToken: async ({ credentials, signal }) => {
      const refused = credentials.authorization?.replace(/^Bearer /, '');
      return (await tokens.replace(ONLY, refused, obtain, signal)) !== refused;
    },
  };
}
