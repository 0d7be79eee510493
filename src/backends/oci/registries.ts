/**
 * The registries of an instance: the one of its `base`, or whichever names mention, each with its own connections, logins
 * and caches.
 */
import { LRUCache } from 'lru-cache';
import { SregistryError } from '../../base/errors.ts';
import { type SharedCall, SingleFlight } from '../../base/single-flight.ts';
import { findDockerCredentials } from '../../settings/docker-credentials.ts';
import type { OptionValues } from '../../settings/options.ts';
import type { DriverContext } from '../backend.ts';
import { createHttp, type Http, isLoopback, type RedirectMemory } from '../http.ts';
import { createAuth, type Login, type Logins } from './auth.ts';
import { type Catalog, createCatalog } from './catalog.ts';
import type { declaration } from './declaration.ts';
import { canonicalHost, DOCKER_HUB } from './reference.ts';

export type Options = OptionValues<(typeof declaration)['options']>;

/** One registry. */
export interface Registry {
  /** As it stands in names, canonical: `quay.io`, `localhost:5000`. */
  readonly host: string;
  /** Resolves paths such as `/v2/` against the registry, with its credentials. */
  readonly http: Http;
  readonly catalog: Catalog;
  /** Where blobs were redirected to. */
  readonly redirects: RedirectMemory;
  /** Repositories known to hold a blob, by its digest: where a copy can be mounted from. */
  readonly holders: LRUCache<string, string>;
}

export interface Registries {
  /** Host of `base`, if the instance has one. */
  readonly base: string | undefined;
  /** Address of `base`, else of Docker Hub. */
  readonly target: string;
  /** The registry of a host. */
  of(host: string): Registry;
  close(): Promise<void>;
}

/** Milliseconds for which a presigned URL is used again. They live for minutes to an hour; one that died is renewed. */
const REDIRECT_TTL = 60_000;
/** Milliseconds for which a login is not looked up again. */
const LOGIN_TTL = 60_000;

export function createRegistries({ name, options, env }: DriverContext): Registries {
  const { base, username, password, nohttps } = options as Options;
  const address = base === undefined ? undefined : parseBase(name, base, nohttps === true);
  const tokenHttp = createHttp({ env });
  const registries = new Map<string, Registry>();

  const open = (host: string): Registry => {
    const own = host === canonicalHost(address?.host ?? DOCKER_HUB);
    const origin = own && address ? address : new URL(`${schemeOf(host, nohttps === true)}://${host}`);
    const logins = cachedLogins((repository, signal) =>
      own && username && password
        ? Promise.resolve({ username, password })
        : findDockerCredentials(host, env, repository, signal),
    );
    const http = createHttp({
      base: origin,
      env,
      hints: {
        UNAUTHORIZED: `it does not exist, or needs a login that may do this: \`sregistry auth login ${name}\``,
      },
      ...createAuth({ origin, http: tokenHttp, logins }),
    });
    return {
      host,
      http,
      catalog: createCatalog(http, host),
      redirects: new LRUCache<string, string>({ max: 1000, ttl: REDIRECT_TTL }),
      holders: new LRUCache<string, string>({ max: 10_000 }),
    };
  };

  return {
    base: address && canonicalHost(address.host),
    target: address?.origin ?? `https://${DOCKER_HUB}`,
    of: (host) => {
      const known = registries.get(host);
      if (known) return known;
      const opened = open(host);
      registries.set(host, opened);
      return opened;
    },
    close: async () => {
      await Promise.all(
        [tokenHttp, ...[...registries.values()].map(({ http }) => http)].map((http) => http.close()),
      );
    },
  };
}

/**
 * The address of `base`: a URL, or a host as the Python client has it. Docker Hub counts as none: it is what names without a
 * registry mean anyway, and others shall stay reachable beside it.
 */
function parseBase(instance: string, base: string, nohttps: boolean): URL | undefined {
  const hasScheme = /^[a-z]+:\/\//i.test(base);
  const url = URL.parse(hasScheme ? base : `${schemeOf(base.split('/')[0] ?? '', nohttps)}://${base}`);
  if (url === null || !/^https?:$/.test(url.protocol) || !/^\/(v2\/?)?$/.test(url.pathname))
    throw new SregistryError('SETTINGS', `${instance}: base is not the address of a registry: ${base}`, {
      hint: 'give scheme, host and port only, such as https://registry.example.org; namespaces belong into names',
    });
  if (canonicalHost(url.host) === DOCKER_HUB) return undefined;
  return new URL(url.origin);
}

function schemeOf(host: string, nohttps: boolean): 'http' | 'https' {
  return isLoopback(host) || (nohttps && host !== DOCKER_HUB) ? 'http' : 'https';
}

/** Files are read and credential helpers started once a minute, and not for every request. */
function cachedLogins(find: Logins['find']): Logins {
  const known = new LRUCache<string, { login: Login | undefined }>({ max: 1000, ttl: LOGIN_TTL });
  const flights = new SingleFlight<Login | undefined>();
  return {
    forget: () => {
      flights.forget();
      known.clear();
    },
    find: (repository, signal) => {
      const answer = known.get(repository);
      if (answer !== undefined) return Promise.resolve(answer.login);
      const look = async (flight: SharedCall) => {
        const login = await find(repository, flight.signal);
        if (flight.isCurrent()) known.set(repository, { login });
        return login;
      };
      return flights.join(repository, look, signal);
    },
  };
}
