/**
 * Deletes a tag. The specification lets a registry refuse that and delete only manifests by digest (CNCF Distribution does),
 * which deletes every tag of the manifest. Then the image is deleted only if no other tag would be lost.
 */
import pMap from 'p-map';
import { SregistryError } from '../../base/errors.ts';
import type { RemoteImage } from '../backend.ts';
import { digestOfTag } from './fetch-manifest.ts';
import { handleOf } from './images.ts';
import { isTag } from './reference.ts';
import { pathOf, type Repository, referenceOf } from './registries.ts';

/** Tags compared at once. */
const CONCURRENCY = 8;

/** Not an error if the tag is gone already. Throws STALE if it means another image by now. */
export async function removeImage(repository: Repository, image: RemoteImage): Promise<void> {
  const { manifest } = handleOf(image);
  const { tag } = image.name;
  const what = referenceOf(repository, tag);
  if (!isTag(tag)) throw new SregistryError('INVALID_NAME', `${what}: not a valid tag`);
  const current = await digestOfTag(repository, tag);
  if (current === undefined) return;
  if (current !== manifest)
    throw new SregistryError('STALE', `${what}: replaced since it was looked up; not deleted`);
  if (await deleteManifest(repository, tag)) return;
  const others = await otherTags(repository, tag, manifest);
  if (others.length > 0)
    throw new SregistryError(
      'UNSUPPORTED',
      `${what}: the registry cannot delete a single tag, and ${list(others)} the same image`,
      { hint: 'delete the other tags first, or push another image under this one' },
    );
  if (!(await deleteManifest(repository, manifest)))
    throw new SregistryError('UNSUPPORTED', `${what}: the registry does not delete images`, {
      hint: 'its operator has to allow it (REGISTRY_STORAGE_DELETE_ENABLED for CNCF Distribution)',
    });
}

/** False if the registry refuses to delete this kind of reference. */
async function deleteManifest(repository: Repository, reference: string): Promise<boolean> {
  const { http, signal } = repository;
  const path = pathOf(repository, `manifests/${reference}`);
  const reply = await http.delete(path, { allow: [400, 404, 405, 501], signal });
  return reply.status < 300 || reply.status === 404;
}

async function otherTags(repository: Repository, tag: string, digest: string): Promise<string[]> {
  const { catalog, path, signal } = repository;
  const tags = (await catalog.tags(path, signal)) ?? [];
  const isSame = async (other: string) => other !== tag && (await digestOfTag(repository, other)) === digest;
  const same = await pMap(tags, isSame, { concurrency: CONCURRENCY });
  return tags.filter((_, index) => same[index]);
}

function list(tags: readonly string[]): string {
  const [first, ...rest] = tags;
  return rest.length === 0 ? `the tag ${first} is` : `the tags ${tags.slice(0, 5).join(', ')} are`;
}
