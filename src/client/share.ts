/** Shares an image: makes a link to it, or gives someone access. */
import type { ShareOptions } from '../backends/backend.ts';
import type { Session } from './session.ts';
import { findUsableImage, parseTarget } from './target.ts';
import { unsupported } from './unsupported.ts';

/** The link, which may be a secret of its own. Throws UNSUPPORTED if the backend cannot share. */
export async function share(
  session: Session,
  text: string,
  options: ShareOptions & { readonly signal?: AbortSignal | undefined } = {},
): Promise<string> {
  const target = await parseTarget(text, session);
  const { backend } = target;
  if (backend.share === undefined) throw unsupported(backend, 'share', 'cannot share images');
  const { signal, ...shareOptions } = options;
  return backend.share(await findUsableImage(session, target, signal), shareOptions, signal);
}
