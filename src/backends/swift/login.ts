/**
 * Logs in: version 1 (docs.openstack.org/swift/latest/overview_auth.html, "TempAuth"; Ceph RGW has it too), or version 3 of Keystone
 * (docs.openstack.org/api-ref/identity/v3, "Password authentication with scoped authorization", "Authenticating with an Application
 * Credential").
 */
import { SregistryError } from '../../base/errors.ts';
import { registerSecret } from '../../log/index.ts';
import type { OptionValues } from '../../settings/options.ts';
import type { HttpClient } from '../http.ts';
import { isLoopback } from '../http.ts';
import type { declaration } from './declaration.ts';

export type SwiftOptions = OptionValues<typeof declaration.options>;

export interface Session {
  readonly token: string;
  /** Address of the account, without a slash at its end. */
  readonly storage: URL;
  /** Milliseconds for which the token is used. */
  readonly lifetime: number;
  /** Does a login get the token? If not, it was given. */
  readonly isRenewable: boolean;
}

/** Milliseconds before its expiry from which a token is no longer used. */
const MARGIN = 10_000;
/** Milliseconds for which a token is used whose expiry is malformed. */
const UNKNOWN_LIFETIME = 60_000;

/** Logs in as the options say. Throws SETTINGS if something is missing. */
export async function logIn(
  http: HttpClient,
  instance: string,
  options: SwiftOptions,
  signal: AbortSignal,
): Promise<Session> {
  const require = (value: string | undefined, what: string, variables: string) => {
    if (value) return;
    throw new SregistryError('SETTINGS', `${instance}: the ${what} is missing`, {
      hint: `set ${variables}, or \`sregistry auth login ${instance}\``,
    });
  };
  const storageOf = (address: unknown) => accountAddress(instance, options, address);
  const kind = kindOf(options);
  if (kind === 'preauth') {
    const { authToken = '', url } = options;
    require(authToken, 'token', 'SREGISTRY_SWIFT_OS_AUTH_TOKEN');
    registerSecret(authToken);
    const lifetime = Number.POSITIVE_INFINITY;
    return { token: authToken, storage: storageOf(url), lifetime, isRenewable: false };
  }
  if (kind === 'v2')
    throw new SregistryError('SETTINGS', `${instance}: version 2 of Keystone is no longer supported`, {
      hint: 'set SREGISTRY_SWIFT_AUTHTYPE to keystonev3; OpenStack removed version 2 in 2018',
    });
  if (options.applicationCredentialSecret === undefined) {
    require(options.user, 'user', 'SREGISTRY_SWIFT_USER or OS_USERNAME');
    require(options.token, 'password', 'SREGISTRY_SWIFT_TOKEN or OS_PASSWORD');
  }
  const enter = kind === 'v3' ? keystone : versionOne;
  return enter(http, options, storageOf, signal);
}

function kindOf(options: SwiftOptions): 'preauth' | 'v1' | 'v2' | 'v3' {
  const { authtype, authToken, projectId, tenant, applicationCredentialSecret } = options;
  const path = new URL(options.url).pathname;
  if (authtype === 'preauth') return 'preauth';
  if (authtype === 'keystonev3') return 'v3';
  if (authtype === 'keystonev2') return 'v2';
  if (authtype) return 'v1';
  if (authToken) return 'preauth';
  if (/\/v2\.0\/?$/.test(path)) return 'v2';
  if (/\/v1(\.0)?\/?$/.test(path)) return 'v1';
  const isKeystone = /\/v3\/?$/.test(path) || [projectId, tenant, applicationCredentialSecret].some(Boolean);
  return isKeystone ? 'v3' : 'v1';
}

type Find = (address: unknown) => URL;

async function versionOne(
  http: HttpClient,
  { url, user = '', token = '' }: SwiftOptions,
  storageOf: Find,
  signal: AbortSignal,
): Promise<Session> {
  const base = new URL(url);
  const address = base.pathname === '/' ? new URL('/auth/v1.0', base) : base;
  const { headers } = await http.get(address, {
    headers: { 'x-auth-user': user, 'x-auth-key': token },
    signal,
  });
  const seconds = Number(headers['x-auth-token-expires'] ?? Number.POSITIVE_INFINITY);
  return session(headers['x-auth-token'], seconds * 1000, storageOf(headers['x-storage-url']));
}

async function keystone(
  http: HttpClient,
  options: SwiftOptions,
  storageOf: Find,
  signal: AbortSignal,
): Promise<Session> {
  const base = options.url.replace(/\/*$/, '');
  const address = new URL(`${/\/v3$/.test(base) ? base : `${base}/v3`}/auth/tokens`);
  const json = { auth: credentialsOf(options) };
  const reply = await http.post(address, { json, idempotent: true, signal });
  const { token = {} } = (reply.json() ?? {}) as { token?: { catalog?: unknown; expires_at?: unknown } };
  const lifetime = Date.parse(String(token.expires_at)) - Date.now();
  const storage = storageOf(options.storageUrl ?? endpointOf(options, token.catalog));
  return session(reply.headers['x-subject-token'], lifetime, storage);
}

function session(token: string | undefined, lifetime: number, storage: URL): Session {
  if (!token)
    throw new SregistryError('SERVICE', 'The login was answered without a token', {
      hint: 'check that the address is that of a login service of Swift or Keystone',
    });
  registerSecret(token, lifetime / 1000);
  // Without a known end, or with clocks that differ, a token is used for a while, but never for no time.
  const used = Number.isNaN(lifetime) ? UNKNOWN_LIFETIME : Math.max(1000, lifetime - MARGIN);
  return { token, storage, lifetime: used, isRenewable: true };
}

/** The body of a login to Keystone. An application credential has its project and allows no scope. */
function credentialsOf(options: SwiftOptions): object {
  const { user, token, tenant, projectId } = options;
  const domain = domainOf(options.userDomain, options.userDomainId);
  const { applicationCredentialId: id, applicationCredentialName, applicationCredentialSecret } = options;
  if (applicationCredentialSecret !== undefined) {
    const named = id ? { id } : { name: applicationCredentialName, user: { name: user, domain } };
    return {
      identity: {
        methods: ['application_credential'],
        application_credential: { ...named, secret: applicationCredentialSecret },
      },
    };
  }
  const identity = { methods: ['password'], password: { user: { name: user, domain, password: token } } };
  // The Python client always names the project Default.
  const name = tenant ?? (options.authtype === 'keystonev3' ? 'Default' : undefined);
  if (projectId) return { identity, scope: { project: { id: projectId } } };
  if (!name) return { identity };
  const projectDomain = domainOf(options.projectDomain, options.projectDomainId);
  return { identity, scope: { project: { name, domain: projectDomain } } };
}

const domainOf = (name: string | undefined, id: string | undefined) => (id ? { id } : { name });

/** The address of the storage in a catalog. */
function endpointOf({ region, interface: kind = 'public' }: SwiftOptions, catalog: unknown): unknown {
  const services = Array.isArray(catalog) ? catalog : [];
  const endpoints = services
    .filter((service) => service?.type === 'object-store')
    .flatMap((service) => (Array.isArray(service.endpoints) ? service.endpoints : []));
  const wanted = kind.replace(/URL$/, '');
  const found = endpoints.find(
    (one) => one?.interface === wanted && (!region || one.region === region || one.region_id === region),
  );
  if (found !== undefined) return found.url;
  const regions = [...new Set(endpoints.map((one) => one?.region))].join(', ');
  throw new SregistryError('SETTINGS', 'The catalog of the login names no object storage that fits', {
    hint:
      endpoints.length === 0
        ? 'name the project: OS_PROJECT_NAME'
        : `set OS_REGION_NAME to one of: ${regions.slice(0, 200)}`,
  });
}

/** Checks the address of the account. A token must not leave https because the login service says so. */
function accountAddress(instance: string, { url, storageUrl }: SwiftOptions, given: unknown): URL {
  const address = storageUrl ?? given;
  const parsed = typeof address === 'string' ? URL.parse(address.replace(/\/*$/, '')) : null;
  if (parsed === null || !/^https?:$/.test(parsed.protocol))
    throw new SregistryError('SERVICE', `${instance}: the login named no address of the account`, {
      hint: 'set OS_STORAGE_URL to it',
    });
  const isDowngrade =
    !storageUrl &&
    new URL(url).protocol === 'https:' &&
    parsed.protocol === 'http:' &&
    !isLoopback(parsed.host);
  if (isDowngrade)
    throw new SregistryError(
      'SERVICE',
      `${instance}: the login names an address without TLS: ${parsed.origin}`,
      {
        hint: `if it is right, set OS_STORAGE_URL=${parsed.href}`,
      },
    );
  return parsed;
}
