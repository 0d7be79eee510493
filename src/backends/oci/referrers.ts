/** Lists the manifests that refer to another one (OCI distribution specification 1.1, "Listing Referrers"). */
import { SregistryError } from '../../base/errors.ts';
import { fetchManifest, MANIFEST_MAX } from './fetch-manifest.ts';
import { type Descriptor, parseManifest } from './manifest.ts';
import { pathOf, type Repository, referenceOf } from './registries.ts';

/** Descriptors after which a listing counts as endless. */
const MAX_REFERRERS = 10_000;

/**
 * The manifests of this type that say that they refer to the manifest `digest`, in no order. Whoever may push to the repository can add
 * to them. A registry without the API has them under a tag instead, if the client that pushed them saw to that.
 */
export async function referrersOf(
  repository: Repository,
  digest: string,
  artifactType: string,
): Promise<Descriptor[]> {
  const all = (await listed(repository, digest, artifactType)) ?? (await tagged(repository, digest));
  // Registries may ignore the type that they were asked for.
  return all.filter((descriptor) => descriptor.artifactType === artifactType);
}

/** What the API lists; undefined if the registry does not have it. */
async function listed(
  repository: Repository,
  digest: string,
  artifactType: string,
): Promise<Descriptor[] | undefined> {
  const { http, signal } = repository;
  const what = `the referrers of ${referenceOf(repository, digest)}`;
  const found: Descriptor[] = [];
  const path = pathOf(repository, `referrers/${digest}`);
  for await (const page of http.paginate(path, { query: { artifactType }, allow: [404], signal })) {
    if (page.status === 404) return undefined;
    if (page.bytes.length > MANIFEST_MAX)
      throw new SregistryError('SERVICE', `${what}: ${page.bytes.length} bytes are too many for an index`);
    found.push(...(parseManifest(page.bytes, page.headers['content-type'] ?? '', what).manifests ?? []));
    if (found.length > MAX_REFERRERS)
      throw new SregistryError('SERVICE', `${what}: there are more than ${MAX_REFERRERS}`);
  }
  return found;
}

async function tagged(repository: Repository, digest: string): Promise<readonly Descriptor[]> {
  return (await fetchManifest(repository, fallbackTag(digest)))?.manifests ?? [];
}

/** The tag of the specification's "Referrers Tag Schema": `sha256-<hex>`; a longer hash is cut to 64 digits. */
function fallbackTag(digest: string): string {
  const [algorithm = '', hex = ''] = digest.split(':');
  return `${algorithm}-${hex.slice(0, 64)}`;
}
