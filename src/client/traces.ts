/** Start-up traces that travel with their images. */
import { SregistryError } from '../base/errors.ts';
import type { Session } from './session.ts';
import { findUsableImage, type Target } from './target.ts';

/**
 * Stores with an image which of its bytes starts on this machine have read, so that its first start elsewhere fetches them at once.
 * Throws NOT_FOUND if no start is known, UNSUPPORTED if the service cannot store it.
 */
export async function pushTrace(session: Session, target: Target, signal?: AbortSignal): Promise<void> {
  const { backend, name } = target;
  const uri = session.uri(backend, name);
  const image = await findUsableImage(session, target, signal);
  if (backend.keepTrace === undefined || image.layered !== undefined)
    throw new SregistryError('UNSUPPORTED', `${uri} cannot keep a trace`, {
      hint: 'OCI registries can, for images that are one file: sregistry push FILE --name docker://...',
    });
  const trace = image.digest && session.state.traces.get(image.digest);
  if (!trace)
    throw new SregistryError('NOT_FOUND', `It is not known what a start of ${uri} reads`, {
      hint: 'Run the image once from the mount, then try again',
    });
  session.metadata.noteChange(backend, name, await backend.keepTrace(image, trace, signal));
}
