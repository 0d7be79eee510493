/**
 * Globus Auth (docs.globus.org/api/auth): codes with PKCE for native applications, shown on a page of its own; tokens for each resource
 * server that the granted scopes belong to; dependent scopes in brackets.
 */
import { createHash, randomUUID } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import type { Collections } from './collections.ts';
import { Refusal, send } from './refusal.ts';

export const CLIENT_ID = 'ae32247c-2c17-4c43-92b5-ba7fe9957dbb';
export const TRANSFER = 'transfer.api.globus.org';
export const TRANSFER_SCOPE = `urn:globus:auth:scope:${TRANSFER}:all`;
const IDENTITY_SCOPES = [
  'openid',
  'profile',
  'email',
  'urn:globus:auth:scope:auth.globus.org:view_identities',
];
const PAGE = '/v2/web/auth-code';

/** The scopes of one resource server that a person granted. */
interface Grant {
  readonly server: string;
  readonly scopes: ReadonlySet<string>;
}

export class FakeAuth {
  readonly #collections: Collections;
  readonly #codes = new Map<string, { query: URLSearchParams; grants: Grant[] }>();
  readonly #access = new Map<string, Grant>();
  readonly #refresh = new Map<string, Grant>();

  constructor(collections: Collections) {
    this.#collections = collections;
  }

  /** Refresh tokens as if a person had granted these scopes, by resource server. */
  login(scope: string): Record<string, string> {
    return Object.fromEntries(
      this.#grantsOf(scope).map((grant) => [grant.server, this.#issue(this.#refresh, grant)]),
    );
  }

  /** All access tokens, or also the refresh tokens, are worth nothing from now on. */
  revoke({ refresh = false }: { readonly refresh?: boolean } = {}): void {
    this.#access.clear();
    if (refresh) this.#refresh.clear();
  }

  get refreshTokens(): string[] {
    return [...this.#refresh.keys()];
  }

  /** What the token in a header grants at a resource server; undefined without a header. */
  check(header: string | undefined, server: string): Grant | undefined {
    if (header === undefined) return undefined;
    const grant = this.#access.get(header.replace(/^Bearer /, ''));
    if (grant?.server === server) return grant;
    throw new Refusal(401, 'AuthenticationFailed', 'Token is not active or not for this service');
  }

  handle(url: URL, form: URLSearchParams, response: ServerResponse): void {
    if (url.pathname === '/v2/oauth2/authorize') this.#authorize(url, response);
    else if (url.pathname === '/v2/oauth2/token') send(response, this.#token(form));
    else if (url.pathname === '/v2/oauth2/token/revoke') send(response, this.#revokeOne(form));
    else if (url.pathname === PAGE)
      response.end(`<p>Your code: <code>${url.searchParams.get('code')}</code></p>`);
    else throw new Refusal(404, 'NOT_FOUND', `nothing at ${url.pathname}`);
  }

  #authorize(url: URL, response: ServerResponse): void {
    const query = url.searchParams;
    const redirect = query.get('redirect_uri') ?? '';
    const complies =
      query.get('response_type') === 'code' &&
      query.get('client_id') === CLIENT_ID &&
      redirect === `${url.origin}${PAGE}` &&
      query.get('code_challenge_method') === 'S256';
    if (!complies) throw new Refusal(400, 'INVALID_REQUEST', `refused: ${query}`);
    const code = randomUUID();
    this.#codes.set(code, { query, grants: this.#grantsOf(query.get('scope') ?? '') });
    const target = new URL(redirect);
    target.searchParams.set('code', code);
    target.searchParams.set('state', query.get('state') ?? '');
    response.writeHead(302, { location: target.href }).end();
  }

  #token(form: URLSearchParams): object {
    if (form.get('client_id') !== CLIENT_ID) throw oauthRefusal('invalid_client');
    const kind = form.get('grant_type');
    if (kind === 'authorization_code') return this.#redeem(form);
    if (kind !== 'refresh_token') throw oauthRefusal('unsupported_grant_type');
    const grant = this.#refresh.get(form.get('refresh_token') ?? '');
    if (grant === undefined) throw oauthRefusal('invalid_grant');
    return { ...this.#answer(grant, false), other_tokens: [] };
  }

  #redeem(form: URLSearchParams): object {
    const code = form.get('code') ?? '';
    const { query, grants } = this.#codes.get(code) ?? {};
    this.#codes.delete(code);
    const challenge = createHash('sha256')
      .update(form.get('code_verifier') ?? '')
      .digest('base64url');
    const isRight =
      query?.get('code_challenge') === challenge && query.get('redirect_uri') === form.get('redirect_uri');
    if (!isRight || grants === undefined) throw oauthRefusal('invalid_grant');
    const isOffline = query.get('access_type') === 'offline';
    const [first, ...others] = grants.map((grant) => this.#answer(grant, isOffline));
    return { ...first, state: query.get('state'), other_tokens: others };
  }

  #answer(grant: Grant, isOffline: boolean): object {
    return {
      access_token: this.#issue(this.#access, grant),
      ...(isOffline && { refresh_token: this.#issue(this.#refresh, grant) }),
      scope: [...grant.scopes].join(' '),
      resource_server: grant.server,
      expires_in: 172_800,
      token_type: 'Bearer',
    };
  }

  #issue(tokens: Map<string, Grant>, grant: Grant): string {
    const token = randomUUID();
    tokens.set(token, grant);
    return token;
  }

  /** A token that is not known is no error (RFC 7009). */
  #revokeOne(form: URLSearchParams): object {
    if (form.get('client_id') !== CLIENT_ID) throw oauthRefusal('invalid_client');
    const token = form.get('token') ?? '';
    const grant = this.#refresh.get(token);
    this.#refresh.delete(token);
    for (const [access, each] of this.#access)
      if (access === token || each === grant) this.#access.delete(access);
    return { active: false };
  }

  #grantsOf(text: string): Grant[] {
    const found = new Map<string, Set<string>>();
    const add = (server: string, scope: string) =>
      found.set(server, (found.get(server) ?? new Set()).add(scope));
    for (const [, scope = '', dependents = ''] of text.matchAll(/([^\s[\]]+)(?:\[([^\]]*)\])?/g)) {
      const server = this.#serverOf(scope);
      add(server, scope);
      for (const dependent of dependents.split(' ').filter(Boolean)) {
        const inner = dependent.replace(/^\*/, '');
        if (server !== TRANSFER || !this.#hasDataAccess(inner)) throw unknownScope(dependent);
        add(server, inner);
      }
    }
    if (found.size === 0) throw unknownScope(text);
    return [...found].map(([server, scopes]) => ({ server, scopes }));
  }

  #serverOf(scope: string): string {
    if (scope === TRANSFER_SCOPE) return TRANSFER;
    if (IDENTITY_SCOPES.includes(scope)) return 'auth.globus.org';
    const collection = this.#collections.all.find(({ scopes }) => scopes.https === scope);
    if (collection?.https !== true) throw unknownScope(scope);
    return collection.id;
  }

  #hasDataAccess(scope: string): boolean {
    return this.#collections.all.some((each) => each.needsDataAccess && each.scopes.dataAccess === scope);
  }
}

const unknownScope = (scope: string) => new Refusal(400, 'UNKNOWN_SCOPE_ERROR', `Unknown scope ${scope}`);

const oauthRefusal = (error: string) =>
  new Refusal(error === 'invalid_client' ? 401 : 400, error, error, { error });
