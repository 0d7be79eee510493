/**
 * Reads the repositories and tags of a registry page by page. The catalog is one list for the whole registry: read once, kept for
 * a few seconds, and shared by all folders that `ls -R` or `find` visits.
 */
import { isError, SregistryError } from '../../base/errors.ts';
import type { HttpClient } from '../http.ts';
import { unlessAbsent } from '../kit/absent.ts';
import { type Lookup, Renewable } from '../kit/renewable.ts';
import { DOCKER_HUB, isRepository, isTag } from './reference.ts';

export interface Catalog {
  /** All repositories, sorted, without invalid names. Throws UNSUPPORTED if the registry cannot list them. */
  repositories(signal?: AbortSignal): Promise<readonly string[]>;
  /** The tags of a repository; undefined if the registry says that it does not exist. */
  tags(repository: string, signal?: AbortSignal): Promise<readonly string[] | undefined>;
  /** Reads the repositories again next time: a push may have made one. */
  forget(): void;
}

/** Milliseconds to keep the catalog. */
const CATALOG_TTL = 5_000;
/** Entries per page; the most that CNCF Distribution and ECR accept. */
const PAGE_SIZE = 1000;
/** Names after which a listing counts as endless. */
const MAX_NAMES = 1_000_000;

/** @param otherwise lists the repositories of a registry that has no catalog. */
export function createCatalog(
  http: HttpClient,
  host: string,
  otherwise?: Lookup<readonly string[]>,
): Catalog {
  // Keeps the answer that a registry cannot list, but no failure.
  const known = new Renewable<readonly string[] | SregistryError>({ max: 1, lifetime: CATALOG_TTL });
  const read = (signal: AbortSignal) =>
    readCatalog(http, host, signal).catch(async (error: unknown) => {
      if (!isError(error, 'UNSUPPORTED')) throw error;
      return otherwise === undefined ? error : sorted(await otherwise(signal));
    });
  return {
    forget: () => known.forget(),
    repositories: async (signal) => {
      const answer = await known.get('all', read, signal);
      if (answer instanceof SregistryError) throw answer;
      return answer;
    },
    tags: async (repository, signal) => {
      const path = `/v2/${repository}/tags/list`;
      return (await unlessAbsent(readNames(http, path, 'tags', signal)))?.filter(isTag);
    },
  };
}

async function readCatalog(http: HttpClient, host: string, signal: AbortSignal): Promise<readonly string[]> {
  if (host === DOCKER_HUB) throw doesNotList(host);
  try {
    return sorted(await readNames(http, '/v2/_catalog', 'repositories', signal));
  } catch (error) {
    if (!isError(error, 'UNAUTHORIZED', 'FORBIDDEN', 'NOT_FOUND', 'UNSUPPORTED')) throw error;
    throw doesNotList(host, error);
  }
}

const sorted = (names: readonly string[]) => [...new Set(names.filter(isRepository))].sort();

function doesNotList(host: string, cause?: unknown): SregistryError {
  return new SregistryError('UNSUPPORTED', `${host} does not list its repositories`, {
    hint: 'open an image by its full name; that works without a listing',
    cause,
  });
}

/** The names in all pages of a listing: `{ "tags": [...] }`; null means no names. */
async function readNames(
  http: HttpClient,
  path: string,
  kind: string,
  signal?: AbortSignal,
): Promise<string[]> {
  const names: string[] = [];
  for await (const page of http.paginate(path, { query: { n: PAGE_SIZE }, signal })) {
    const what = `${page.url.origin}${path}`;
    const given = (page.json() as Record<string, unknown> | null)?.[kind] ?? [];
    if (!Array.isArray(given))
      throw new SregistryError('SERVICE', `${what}: the reply has no list of ${kind}`);
    for (const name of given) if (typeof name === 'string') names.push(name);
    if (names.length > MAX_NAMES)
      throw new SregistryError('SERVICE', `${what}: the listing has more than ${MAX_NAMES} entries`);
  }
  return names;
}
