/**
 * Deleting a tag. The specification lets a registry refuse that and only delete manifests by digest (CNCF Distribution does), which
 * takes every tag of that manifest with it: then it is done only where no other tag would be lost.
 */
import pMap from 'p-map';
import { isError, SregistryError } from '../../base/errors.ts';
import type { RemoteImage } from '../backend.ts';
import { isTag } from './grammar.ts';
import { fetchManifest, handleOf } from './images.ts';
import { MANIFEST_TYPES } from './manifest.ts';
import type { Registry } from './registries.ts';

/** Tags looked at at once. */
const CONCURRENCY = 8;

/** Not an error if it is gone already. STALE if the tag means another image by now. */
export async function removeImage(
  registry: Registry,
  image: RemoteImage,
  signal?: AbortSignal,
): Promise<void> {
  const { repository, manifest } = handleOf(image);
  const { tag } = image.name;
  const what = `${registry.host}/${repository}:${tag}`;
  if (!isTag(tag)) throw new SregistryError('INVALID_NAME', `${what}: not a tag`);
  const current = await digestOfTag(registry, repository, tag, signal);
  if (current === undefined) return;
  if (current !== manifest)
    throw new SregistryError('STALE', `${what}: replaced since it was looked up; not deleted`);
  if (await deleteManifest(registry, repository, tag, signal)) return;
  const others = await otherTags(registry, repository, tag, manifest, signal);
  if (others.length > 0)
    throw new SregistryError(
      'UNSUPPORTED',
      `${what}: the registry deletes no single tag, and ${list(others)} the same image`,
      {
        hint: 'delete the other tags first, or push another image under this one',
      },
    );
  if (!(await deleteManifest(registry, repository, manifest, signal)))
    throw new SregistryError('UNSUPPORTED', `${what}: the registry does not delete images`, {
      hint: 'its operator has to allow it (REGISTRY_STORAGE_DELETE_ENABLED for CNCF Distribution)',
    });
}

/** False where the registry refuses to delete this kind of reference. */
async function deleteManifest(
  registry: Registry,
  repository: string,
  reference: string,
  signal?: AbortSignal,
): Promise<boolean> {
  const path = `/v2/${repository}/manifests/${reference}`;
  const reply = await registry.http.delete(path, { allow: [400, 404, 405, 501], signal });
  return reply.status < 300 || reply.status === 404;
}

async function otherTags(
  registry: Registry,
  repository: string,
  tag: string,
  digest: string,
  signal?: AbortSignal,
): Promise<string[]> {
  const tags = (await registry.catalog.tags(repository, signal)) ?? [];
  const digests = await pMap(
    tags.filter((other) => other !== tag),
    async (other) => ({ other, digest: await digestOfTag(registry, repository, other, signal) }),
    { concurrency: CONCURRENCY },
  );
  return digests.filter((entry) => entry.digest === digest).map(({ other }) => other);
}

/** What a tag points to; undefined where there is no such tag. */
async function digestOfTag(
  registry: Registry,
  repository: string,
  tag: string,
  signal?: AbortSignal,
): Promise<string | undefined> {
  const path = `/v2/${repository}/manifests/${tag}`;
  try {
    const reply = await registry.http.head(path, { headers: { accept: MANIFEST_TYPES }, signal });
    return (
      reply.headers['docker-content-digest'] ??
      (await fetchManifest(registry, repository, tag, signal))?.digest
    );
  } catch (error) {
    if (isError(error, 'NOT_FOUND')) return undefined;
    throw error;
  }
}

function list(tags: readonly string[]): string {
  const [first, ...rest] = tags;
  return rest.length === 0 ? `the tag ${first} is` : `the tags ${tags.slice(0, 5).join(', ')} are`;
}
