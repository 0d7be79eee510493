/** Pushing an image file to a backend. */
import type { Progress } from '../backends/backend.ts';
import { splitExtension } from '../image/names.ts';
import type { RemoteImage } from '../image/remote.ts';
import { requireWholeImage } from './image-file.ts';
import { publish } from './publish.ts';
import type { Session } from './session.ts';
import { parseTarget } from './target.ts';

export interface PushOptions {
  /** Wins over the tag in the URI. */
  readonly tag?: string | undefined;
  /** Throw EXISTS instead of replacing an image that has the name. */
  readonly ifAbsent?: boolean | undefined;
  readonly progress?: Progress | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface Pushed {
  readonly uri: string;
  readonly image: RemoteImage;
}

/**
 * Throws NOT_AN_IMAGE for a file that is not a whole image, UNSUPPORTED if the backend cannot be pushed to; else the backend's
 * errors.
 */
export async function push(
  session: Session,
  file: string,
  uri: string,
  { tag, ifAbsent, progress, signal }: PushOptions = {},
): Promise<Pushed> {
  const { size } = await requireWholeImage(file);
  const { backend, name } = await parseTarget(uri, session, { tag });
  const { extension } = splitExtension(uri);
  const request = { backend: backend.name, name, extension, file, size, ifAbsent, progress, signal };
  const image = await publish(session, request);
  return { uri: session.uri(backend, name), image };
}
