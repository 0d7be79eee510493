/** Removing an image from its service. */
import type { RemoteImage } from '../image/remote.ts';
import type { Session } from './session.ts';
import { findImage, type Target } from './target.ts';
import { unsupported } from './unsupported.ts';

/** Finds the image to remove. Throws UNSUPPORTED if the backend cannot remove, NOT_FOUND if the image does not exist. */
export async function findRemovable(
  session: Session,
  target: Target,
  signal?: AbortSignal,
): Promise<RemoteImage> {
  const { backend } = target;
  if (backend.remove === undefined) throw unsupported(backend, 'remove', 'cannot remove images');
  return findImage(session, target, signal);
}

/** Removes the image from the service. */
export async function remove(
  session: Session,
  target: Target,
  image: RemoteImage,
  signal?: AbortSignal,
): Promise<void> {
  const { backend, name } = target;
  await backend.remove?.(image, signal);
  session.metadata.noteChange(backend, name, undefined);
}
