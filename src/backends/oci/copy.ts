/** Copies within a registry: mounts the blobs, puts the manifest under its new name. A retag needs only the manifest. */
import { SregistryError } from '../../base/errors.ts';
import type { ImageName } from '../../image/name.ts';
import type { RemoteImage } from '../backend.ts';
import { goneIsStale } from '../kit/stale.ts';
import { hasBlob, startUpload } from './blobs.ts';
import { fetchManifest } from './fetch-manifest.ts';
import { handleOf, toRemoteImage } from './images.ts';
import { bearing, type Descriptor, REF_NAME } from './manifest.ts';
import { checkTarget, putManifest } from './push.ts';
import { type Repository, referenceOf } from './registries.ts';

export async function copyImage(
  source: Repository,
  from: RemoteImage,
  target: Repository,
  to: ImageName,
): Promise<RemoteImage> {
  const digest = handleOf(from).manifest;
  checkTarget(target, to);
  if (source.host !== target.host)
    throw new SregistryError('CROSS_BACKEND', `${source.host} cannot copy to ${target.host}`);
  const manifest = await fetchManifest(source, digest);
  if (manifest === undefined) throw goneIsStale(new SregistryError('NOT_FOUND', digest), referenceOf(source));
  if (target.path !== source.path) {
    if (manifest.manifests !== undefined)
      throw new SregistryError('CROSS_BACKEND', 'cannot copy an index between repositories');
    for (const blob of [...manifest.layers, ...(manifest.config ? [manifest.config] : [])]) {
      source.holders.set(blob.digest, source.path);
      await mountBlob(target, blob);
    }
  }
  const own = { ...manifest, bytes: bearing(manifest, { [REF_NAME]: to.tag }) };
  const copy = await putManifest(target, to.tag, own);
  // For an index, the image stays what it was resolved to.
  if (copy.manifests === undefined && from.layered === undefined) return toRemoteImage(target, to, copy);
  const handle = { ...from.handle, repository: target.path, manifest: copy.digest };
  return { ...from, name: to, handle };
}

/** Throws CROSS_BACKEND if the registry does not mount, so that the caller can send the bytes instead. */
async function mountBlob(repository: Repository, blob: Descriptor): Promise<void> {
  const { http, host, signal } = repository;
  if (await hasBlob(repository, blob)) return;
  const upload = await startUpload(repository, blob.digest);
  if (upload === undefined) return;
  await http.delete(upload.location, { signal }).catch(() => {});
  throw new SregistryError('CROSS_BACKEND', `${host} cannot copy between repositories`);
}
