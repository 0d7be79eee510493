/**
 * Maps names to registries and repositories. An instance with a `base` is that registry, and the whole path is the repository.
 * Without a `base`, Docker's rule holds: a first component that looks like a host is the registry. Other names are on Docker Hub,
 * under `library/` if they have a single component.
 *
 * The grammar of repositories, tags and digests is that of the OCI distribution and image specifications 1.1; the limit on the
 * length of a repository is Docker's. Names that a registry sends are checked before they become part of a path.
 */
import type { ImageName } from '../../image/name.ts';

/** A repository of a registry. `repository` may be `''`, the top of the registry, or a prefix of repositories. */
export interface RepositoryRef {
  readonly host: string;
  readonly repository: string;
}

/** The host that serves Docker Hub's API. */
export const DOCKER_HUB = 'registry-1.docker.io';

const DOCKER_HUB_NAMES = new Set([DOCKER_HUB, 'docker.io', 'index.docker.io', 'registry.hub.docker.com']);

/** The one name by which a registry is known here. */
export function canonicalHost(host: string): string {
  const lower = host.toLowerCase();
  return DOCKER_HUB_NAMES.has(lower) ? DOCKER_HUB : lower;
}

/** Registry and repository of a collection; undefined for `''` without a `base`. `base` is a host. */
export function repositoryOf(collection: string, base: string | undefined): RepositoryRef | undefined {
  const components = collection.split('/').filter((part) => part !== '');
  if (base !== undefined) {
    const named =
      components[0] !== undefined && isHost(components[0]) && canonicalHost(components[0]) === base;
    return { host: base, repository: components.slice(named ? 1 : 0).join('/') };
  }
  const [first, ...rest] = components;
  if (first === undefined) return undefined;
  return isHost(first)
    ? { host: canonicalHost(first), repository: rest.join('/') }
    : { host: DOCKER_HUB, repository: components.join('/') };
}

/** The repository of an image. The name may have the host as its registry or at the start of its collection. */
export function repositoryOfImage(
  name: Pick<ImageName, 'registry' | 'collection' | 'image'>,
  base?: string,
): RepositoryRef {
  const path = [name.registry, name.collection, name.image].filter(Boolean).join('/');
  // An image always follows the host, so that a bare `my.image` is no registry.
  const ref =
    path === name.image && base === undefined
      ? { host: DOCKER_HUB, repository: path }
      : repositoryOf(path, base);
  if (ref === undefined) return { host: base ?? DOCKER_HUB, repository: '' };
  const official = ref.host === DOCKER_HUB && ref.repository !== '' && !ref.repository.includes('/');
  return official ? { ...ref, repository: `library/${ref.repository}` } : ref;
}

/** May repositories begin with this collection? `base` is a host. */
export function isNamespace(collection: string, base: string | undefined): boolean {
  const { repository = '' } = repositoryOf(collection, base) ?? {};
  return repository === '' || isRepository(repository);
}

/** A component that looks like a host: one with a dot or a port, `localhost`, or an IPv6 address in brackets. */
const HOST =
  /^(?:(?=.*[.:]|localhost$)[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::\d{1,5})?|\[[0-9a-f:.]+\](?::\d{1,5})?)$/i;

export function isHost(component: string): boolean {
  return HOST.test(component);
}

const COMPONENT = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*';
const REPOSITORY = new RegExp(`^${COMPONENT}(?:/${COMPONENT})*$`);
const REPOSITORY_MAX = 255;
const TAG = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/;
const DIGEST = /^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/;

export function isRepository(text: string): boolean {
  return text.length <= REPOSITORY_MAX && REPOSITORY.test(text);
}

export const isTag = (text: string) => TAG.test(text);

/** Of the two algorithms that the specification registers. */
export const isDigest = (text: string) => DIGEST.test(text);
