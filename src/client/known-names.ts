/** Names that are known without a question to a service, for completion. */
import { formatImageName } from '../image/names.ts';
import { identityOf } from './identity.ts';
import { remembered } from './remembered.ts';
import type { Session } from './session.ts';

/** URIs of the images of a backend that were seen, in order; those of the library for `local`. Throws SETTINGS for an unknown backend. */
export async function knownUris(session: Session, backendName: string): Promise<string[]> {
  const backend = await session.backend(backendName);
  if (backend.localPath !== undefined && backend.driver === 'local')
    return session.library.images().map(({ name }) => session.uri(backend, name));
  const seen = remembered(session.state, ({ remotes }) => remotes.list(identityOf(backend))) ?? [];
  return seen.map(({ image }) => session.uri(backend, image.name));
}

/** Names of the library, as `get` takes them. */
export function libraryNames({ library }: Session): string[] {
  return library.images().map(({ name }) => formatImageName(name));
}
