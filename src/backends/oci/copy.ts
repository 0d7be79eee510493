/** Copies within a registry: the blobs are mounted, the manifest is put under its new name. A retag is the manifest alone. */
import { SregistryError } from '../../base/errors.ts';
import type { ImageName } from '../../image/name.ts';
import type { RemoteImage } from '../backend.ts';
import { hasBlob, startUpload } from './blobs.ts';
import { fetchManifest, goneIsStale, handleOf, toRemoteImage } from './images.ts';
import { bearingTag, imageLayer } from './manifest.ts';
import { checkTarget, putManifest } from './push.ts';
import type { Place } from './reference.ts';
import type { Registry } from './registries.ts';

export async function copyImage(
  registry: Registry,
  from: RemoteImage,
  place: Place,
  to: ImageName,
  signal?: AbortSignal,
): Promise<RemoteImage> {
  const source = handleOf(from);
  checkTarget(place, to);
  if (source.registry !== place.host)
    throw new SregistryError('CROSS_BACKEND', `${source.registry} cannot copy to ${place.host}`);
  const manifest = await fetchManifest(registry, source.repository, source.manifest, signal);
  if (manifest === undefined)
    throw goneIsStale(
      new SregistryError('NOT_FOUND', source.manifest),
      `${source.registry}/${source.repository}`,
    );
  if (place.repository !== source.repository) {
    if (manifest.manifests !== undefined)
      throw new SregistryError('CROSS_BACKEND', 'an index is not copied between repositories');
    for (const blob of [...manifest.layers, ...(manifest.config ? [manifest.config] : [])]) {
      registry.holders.set(blob.digest, source.repository);
      await mountBlob(registry, place.repository, blob, signal);
    }
  }
  const own = { ...manifest, bytes: bearingTag(manifest, to.tag) };
  const copy = await putManifest(registry, place.repository, to.tag, own, signal);
  // Of an index the image stays what it was resolved to.
  if (copy.manifests !== undefined) return { ...from, name: to };
  return toRemoteImage(registry, place.repository, to, copy, imageLayer(copy) && copy);
}

/** CROSS_BACKEND where the registry does not mount, so that the caller can send the bytes instead. */
async function mountBlob(
  registry: Registry,
  repository: string,
  blob: { digest: string; size: number },
  signal?: AbortSignal,
): Promise<void> {
  if (await hasBlob(registry, repository, blob, signal)) return;
  const upload = await startUpload(registry, repository, blob.digest, signal);
  if (upload === undefined) return;
  await registry.http.delete(upload.location, { signal }).catch(() => {});
  throw new SregistryError('CROSS_BACKEND', `${registry.host} does not copy between repositories`);
}
