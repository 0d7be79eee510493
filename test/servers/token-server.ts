/**
 * Who may do what at a fake registry: the token service of CNCF Distribution's token specification (GET with a basic
 * login or none, POST with a refresh token as OAuth2 has it), and the check of its tokens. Anonymous users may pull.
 */
import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';

export interface TokenServerOptions {
  readonly username: string;
  readonly password: string;
  /** Accepted as a login by POST. */
  readonly refreshToken?: string;
  /** Seconds a token lives; the answer leaves it out where undefined. */
  readonly lifetime?: number;
}

export interface TokenServer {
  /** What each token request asked for: method, user, scopes. */
  readonly asked: { method: string; user: string | undefined; scopes: string[] }[];
  /** Answers a request to `/token`. */
  issue(request: IncomingMessage, response: ServerResponse): Promise<void>;
  /** True if the request may go on; else it has been answered with 401 and a challenge. */
  admit(
    request: IncomingMessage,
    response: ServerResponse,
    scope: string | undefined,
    realm: string,
  ): boolean;
  /** Makes all tokens worthless. */
  revoke(): void;
}

export function createTokenServer(options: TokenServerOptions): TokenServer {
  const granted = new Map<string, Set<string>>();
  const asked: TokenServer['asked'] = [];

  const userOf = (request: IncomingMessage, form: URLSearchParams): string | undefined | Error => {
    if (form.get('grant_type') === 'refresh_token')
      return form.get('refresh_token') === options.refreshToken ? options.username : new Error('bad token');
    const basic = /^Basic (.+)$/.exec(request.headers.authorization ?? '')?.[1];
    if (basic === undefined) return undefined;
    const login = Buffer.from(basic, 'base64').toString();
    return login === `${options.username}:${options.password}` ? options.username : new Error('bad login');
  };

  return {
    asked,
    revoke: () => granted.clear(),

    issue: async (request, response) => {
      let body = '';
      for await (const chunk of request) body += chunk;
      const query = new URL(request.url ?? '', 'http://x').searchParams;
      const form = request.method === 'POST' ? new URLSearchParams(body) : query;
      const user = userOf(request, form);
      if (user instanceof Error) {
        response.writeHead(401, { 'content-type': 'application/json' });
        response.end(JSON.stringify({ details: user.message }));
        return;
      }
      const scopes = form.getAll('scope').flatMap((scope) => scope.split(' '));
      asked.push({ method: request.method ?? '', user, scopes });
      const token = randomUUID();
      const allowed = scopes.filter((scope) => user !== undefined || scope.endsWith(':pull'));
      granted.set(token, new Set(allowed));
      const { lifetime } = options;
      response.end(JSON.stringify({ token, ...(lifetime === undefined ? {} : { expires_in: lifetime }) }));
    },

    admit: (request, response, scope, realm) => {
      const scopes = granted.get(request.headers.authorization?.replace(/^Bearer /, '') ?? '');
      if (scopes !== undefined && (scope === undefined || scopes.has(scope))) return true;
      const wanted = scope === undefined ? '' : `,scope="${scope}"`;
      response.writeHead(401, { 'www-authenticate': `Bearer realm="${realm}",service="fake"${wanted}` });
      response.end(
        JSON.stringify({ errors: [{ code: 'UNAUTHORIZED', message: 'authentication required' }] }),
      );
      return false;
    },
  };
}
