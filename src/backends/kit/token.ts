/**
 * Access tokens: obtained when a request needs one, used until shortly before their end, replaced once when the service refuses
 * them. However many requests wait, one of them obtains the token. {@link bearerCredentials} makes of that what the base client
 * wants (`authorize`, `updateToken`) for services where one token serves all requests; a service with a token for each scope
 * keeps a {@link TokenCache} by scope.
 */
import { registerSecret } from '../../log/index.ts';
import type { Headers, HttpSettings } from '../http.ts';
import { type Lookup, Renewable } from './renewable.ts';

export interface AccessToken {
  /** Sent as `Authorization: Bearer <value>`. */
  readonly value: string;
  /** Seconds it lives from now on; Infinity where the service does not end it. */
  readonly lifetime: number;
}

/** Obtains a token from the service. The signal fires when nobody waits for the token any more. */
export type ObtainToken = Lookup<AccessToken>;

/** Seconds before its end at which a token is no longer used: clocks differ, requests take time. */
const MARGIN = 10;

/** Tokens by scope, or by whatever a service tells them apart by. */
export class TokenCache {
  // A token that lives shorter than the margin is used for a second, instead of never.
  readonly #tokens = new Renewable<AccessToken>({
    lifetime: ({ lifetime }) => Math.max(1, lifetime - MARGIN) * 1000,
  });

  /** The token of a scope if there is one. */
  peek(scope: string): string | undefined {
    return this.#tokens.peek(scope)?.value;
  }

  /** The token of a scope, obtained where there is none. Errors of `obtain`. */
  async get(scope: string, obtain: ObtainToken, signal?: AbortSignal): Promise<string> {
    return (await this.#tokens.get(scope, registered(obtain), signal)).value;
  }

  /** A token instead of `refused`; obtained unless another request did so meanwhile. Errors of `obtain`. */
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

/** `obtain`, whose tokens appear in no message and no trace. */
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

/** The name that the only token of a service is kept by. */
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
