/**
 * The registries of an instance: that of its `base`, or those that names mention, each with its own connections, logins and
 * caches.
 */
import { LRUCache } from 'lru-cache';
import { SregistryError } from '../../base/errors.ts';
import type { Platform } from '../../base/platform.ts';
import { registerSecret } from '../../log/index.ts';
import { findDockerCredentials } from '../../settings/docker-credentials.ts';
import type { DriverContext } from '../backend.ts';
import { createHttpClient, type HttpClient, isLoopback, type RedirectMemory } from '../http.ts';
import { type Lookup, Renewable } from '../kit/renewable.ts';
import { createAuth, type Login, type Logins } from './auth.ts';
import { type Catalog, createCatalog } from './catalog.ts';
import { canonicalHost, DOCKER_HUB, type RepositoryRef } from './reference.ts';
import { SOCI_OPTION, type SociChoice } from './soci-option.ts';

/** Which registry an instance uses, and how it logs in there. */
export interface OciSettings {
  /** Address of its only registry, as a URL or a host. Undefined: names begin with a registry, or mean Docker Hub. */
  readonly base: string | undefined;
  /** Use plain http. Default: only on the loopback. */
  readonly nohttps?: boolean | undefined;
  /** Which images to choose of those that exist for several platforms. */
  readonly platform: Platform;
  /** Which SOCI indexes count. Default: those that images name. */
  readonly soci?: SociChoice | undefined;
  /** The login to that registry. Default: those that apptainer, docker and podman keep. */
  readonly login?: Lookup<TimedLogin | undefined> | undefined;
  /** What to do if that registry refuses a request. */
  readonly loginHint?: string | undefined;
  /** Lists the repositories of that registry if it has no catalog. */
  readonly repositories?: Lookup<readonly string[]> | undefined;
  /** Makes a repository of that registry. Called where a push finds that it does not exist. */
  readonly createRepository?: CreateRepository | undefined;
  /** Releases what these functions hold. */
  readonly close?: (() => Promise<void>) | undefined;
}

type CreateRepository = (path: string, signal?: AbortSignal) => Promise<void>;

export type TimedLogin = Login & {
  /** Seconds from now until it expires. Default: looked up again after a minute. */
  readonly lifetime?: number | undefined;
};

/** One registry. */
export interface Registry {
  /** Canonical, as in names: `quay.io`, `localhost:5000`. */
  readonly host: string;
  /** Resolves paths such as `/v2/` against the registry, with its credentials. */
  readonly http: HttpClient;
  readonly catalog: Catalog;
  /** Where blobs were redirected to. */
  readonly redirects: RedirectMemory;
  /** A repository known to hold a blob, by the digest of the blob: a copy can be mounted from there. */
  readonly holders: LRUCache<string, string>;
  /** Undefined if repositories need not, or must not, be made for a push. */
  readonly createRepository?: CreateRepository | undefined;
}

/** A repository for one operation. The signal ends the requests of the operation. */
export interface Repository extends Registry {
  /** As in {@link OciSettings}. */
  readonly platform: Platform;
  /** As in {@link OciSettings}. */
  readonly soci: SociChoice;
  /** May be `''`, the top of the registry, or a prefix of repositories. */
  readonly path: string;
  readonly signal?: AbortSignal | undefined;
}

export interface Registries {
  /** Host of `base`, if the instance has one. */
  readonly base: string | undefined;
  /** Address of `base`, else of Docker Hub. */
  readonly target: string;
  /** The registry of `base`, else Docker Hub. */
  readonly own: Registry;
  /** The repository `ref`, for one operation. */
  at(ref: RepositoryRef, signal?: AbortSignal): Repository;
  close(): Promise<void>;
}

/** Milliseconds to reuse a presigned URL. It lives for minutes to an hour; an expired one is renewed. */
const REDIRECT_TTL = 60_000;
/** Milliseconds to keep a login of unknown lifetime; others are renewed so long before their end. */
const LOGIN_TTL = 60_000;

export function createRegistries(
  { name, env }: Pick<DriverContext, 'name' | 'env'>,
  settings: OciSettings,
): Registries {
  const { platform, soci = SOCI_OPTION.default, base, nohttps = false, login } = settings;
  const address = base === undefined ? undefined : parseBase(name, base, nohttps);
  const ownHost = canonicalHost(address?.host ?? DOCKER_HUB);
  const tokenHttp = createHttpClient({ env });
  const registries = new Map<string, Registry>();

  const open = (host: string): Registry => {
    const own = host === ownHost;
    const origin = own && address ? address : new URL(`${schemeOf(host, nohttps)}://${host}`);
    const logins = createLogins(host, env, own ? login : undefined);
    const { loginHint, repositories, createRepository }: Partial<OciSettings> = own ? settings : {};
    const hint =
      loginHint ?? `it does not exist, or needs a login that may do this: \`sregistry auth login ${name}\``;
    const auth = createAuth({ origin, http: tokenHttp, logins });
    const http = createHttpClient({ base: origin, env, hints: { UNAUTHORIZED: hint }, ...auth });
    return {
      host,
      http,
      catalog: createCatalog(http, host, repositories),
      redirects: new LRUCache<string, string>({ max: 1000, ttl: REDIRECT_TTL }),
      holders: new LRUCache<string, string>({ max: 10_000 }),
      createRepository,
    };
  };
  const of = (host: string): Registry => {
    const registry = registries.get(host) ?? open(host);
    registries.set(host, registry);
    return registry;
  };

  return {
    base: address && ownHost,
    target: address?.origin ?? `https://${DOCKER_HUB}`,
    get own() {
      return of(ownHost);
    },
    at: ({ host, repository }, signal) => ({ ...of(host), platform, soci, path: repository, signal }),
    close: async () => {
      const clients = [tokenHttp, ...[...registries.values()].map(({ http }) => http)];
      await Promise.all([...clients.map((http) => http.close()), settings.close?.()]);
    },
  };
}

/** Path in the registry's API of something in a repository: `pathOf(repository, 'manifests/latest')`. */
export function pathOf({ path }: Repository, what: string): string {
  return `/v2/${path}/${what}`;
}

/** For messages: `quay.io/lab/image`, followed by `:tag` or the digest. */
export function referenceOf({ host, path }: Repository, reference?: string): string {
  return `${host}/${path}${reference === undefined ? '' : `:${reference}`}`;
}

/**
 * The address of `base`, which is a URL or, as in the Python client, a host. Undefined for Docker Hub: names without a registry
 * mean it anyway, and other registries stay reachable beside it.
 */
function parseBase(instance: string, base: string, nohttps: boolean): URL | undefined {
  const hasScheme = /^[a-z]+:\/\//i.test(base);
  const url = URL.parse(hasScheme ? base : `${schemeOf(base.split('/')[0] ?? '', nohttps)}://${base}`);
  if (url === null || !/^https?:$/.test(url.protocol) || !/^\/(v2\/?)?$/.test(url.pathname))
    throw new SregistryError('SETTINGS', `${instance}: base is not the address of a registry: ${base}`, {
      hint: 'give only scheme, host and port, such as https://registry.example.org; namespaces belong in names',
    });
  return canonicalHost(url.host) === DOCKER_HUB ? undefined : new URL(url.origin);
}

function schemeOf(host: string, nohttps: boolean): 'http' | 'https' {
  return isLoopback(host) || (nohttps && host !== DOCKER_HUB) ? 'http' : 'https';
}

/** Reads files and starts credential helpers once a minute instead of for every request. */
function createLogins(host: string, env: NodeJS.ProcessEnv, ownLogin: OciSettings['login']): Logins {
  const own = new Renewable<TimedLogin | undefined>({
    lifetime: (login) => (login?.lifetime === undefined ? LOGIN_TTL : login.lifetime * 1000 - LOGIN_TTL),
  });
  const found = new Renewable<Login | undefined>({ lifetime: LOGIN_TTL });
  return {
    forget: () => {
      own.forget();
      found.forget();
    },
    find: async (repository, signal) => {
      const login = ownLogin && (await own.get(host, ownLogin, signal));
      if (login !== undefined && 'password' in login) registerSecret(login.password, login.lifetime);
      const find = (flight: AbortSignal) => findDockerCredentials(host, env, repository, flight);
      return login ?? (await found.get(repository, find, signal));
    },
  };
}
