/** Removes images. A library deletes an image with all its tags, so an image with another tag is not deleted. */
import { SregistryError } from '../../base/errors.ts';
import { formatImageName } from '../../image/names.ts';
import type { RemoteImage } from '../backend.ts';
import type { Api } from './api.ts';
import { containerPath, fetchManifest, manifestPath } from './images.ts';

/** Succeeds if the image is gone. STALE if the tag means another image by now. */
export async function removeImage(
  api: Api,
  { name, handle }: RemoteImage,
  signal?: AbortSignal,
): Promise<void> {
  const container = containerPath(name);
  if (container === undefined) return;
  const path = manifestPath(container, name.tag, api.arch);
  const present = await fetchManifest(api, path, signal);
  if (present === undefined) return;
  const what = `${api.base.host}: ${formatImageName(name)}`;
  if (present.version !== handle.version)
    throw new SregistryError('STALE', `${what} was replaced since it was looked up, and is not deleted`);
  const others = present.tags.filter((tag) => tag !== name.tag);
  // Singularity Registry Server keeps one image for each tag, and states the tags of the whole collection.
  if (others.length > 0 && present.uploaded !== undefined)
    throw new SregistryError(
      'UNSUPPORTED',
      `${what}: the library deletes an image with its other tags (${others.slice(0, 5).join(', ')})`,
      {
        hint: 'push another image under this tag, or delete the image on the web page of the library',
      },
    );
  const reply = await api.http.delete(path, { allow: [404, 405], signal });
  if (reply.status !== 405) return;
  throw new SregistryError('UNSUPPORTED', `${what}: the library does not delete images through its API`, {
    hint: 'delete it on the web page of the library. For a Singularity Registry Server, the driver registry deletes',
  });
}
