/**
 * Keeps a start-up trace with an image: as an annotation of its manifest, which every client reads anyway before it reads the image, so
 * that a trace costs no request. The manifest's digest changes with that, the image's does not.
 */
import { SregistryError } from '../../base/errors.ts';
import type { RemoteImage } from '../backend.ts';
import { goneIsStale } from '../kit/stale.ts';
import { digestOfTag, fetchManifest } from './fetch-manifest.ts';
import { handleOf, toRemoteImage } from './images.ts';
import { bearing, TRACE } from './manifest.ts';
import { checkTarget, putManifest } from './push.ts';
import { type Repository, referenceOf } from './registries.ts';

/** Throws STALE if the tag has another manifest by now, UNSUPPORTED if that is not of one image in OCI's form. */
export async function keepTrace(
  repository: Repository,
  image: RemoteImage,
  trace: string,
): Promise<RemoteImage> {
  const { name } = image;
  const what = referenceOf(repository, name.tag);
  checkTarget(repository, name);
  const digest = handleOf(image).manifest;
  const manifest = await fetchManifest(repository, digest);
  if (manifest === undefined) throw goneIsStale(new SregistryError('NOT_FOUND', digest), what);
  const bytes = bearing(manifest, { [TRACE]: trace });
  if (bytes === manifest.bytes)
    throw new SregistryError(
      'UNSUPPORTED',
      `${what} cannot keep a trace: its manifest is a ${manifest.mediaType}`,
      {
        hint: 'Push the image under a tag of its own: sregistry push FILE --name URI',
      },
    );
  // The specification has no conditional PUT: a push between this look and the PUT would be lost.
  if ((await digestOfTag(repository, name.tag)) !== digest)
    throw new SregistryError('STALE', `${what} was changed meanwhile`, { hint: 'Try again' });
  return toRemoteImage(repository, name, await putManifest(repository, name.tag, { ...manifest, bytes }));
}
