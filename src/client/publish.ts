/** Pushes an image file: collects its metadata, calls the backend's push, and tells the catalog and the cache. */
import type { Backend, Progress, PushState } from '../backends/backend.ts';
import { isError, SregistryError } from '../base/errors.ts';
import { flattenAnnotations } from '../image/annotations.ts';
import { getMetadata } from '../image/metadata.ts';
import type { ImageName } from '../image/name.ts';
import { formatImageName, parseImageName } from '../image/names.ts';
import type { RemoteImage } from '../image/remote.ts';
import { debugLog } from '../log/index.ts';
import type { Session } from './session.ts';
import { unsupported } from './unsupported.ts';

const debug = debugLog('push');

export interface PublishRequest {
  readonly backend: string;
  readonly name: ImageName;
  /** Extension of the name it was given, for services that keep one. */
  readonly extension?: string | undefined;
  /** Path of a whole image on local disk. */
  readonly file: string;
  readonly size: number;
  readonly progress?: Progress | undefined;
  readonly resume?: PushState | undefined;
  /** When the file was whole, in milliseconds since the epoch; default: now. */
  readonly closedAt?: number | undefined;
  /** Refuse to replace an image that the service has under the name by the end of the upload. */
  readonly ifAbsent?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Pushes a whole image. Throws UNSUPPORTED if the backend cannot be pushed to, EXISTS if `ifAbsent` forbids it; else the
 * backend's errors.
 */
export async function publish(session: Session, request: PublishRequest): Promise<RemoteImage> {
  const backend = await session.backend(request.backend);
  if (backend.push === undefined) throw unsupported(backend, 'push', 'cannot be pushed to');
  const { file, size, name, extension, progress, resume, closedAt = Date.now(), signal } = request;
  const annotations = await annotationsOf(file, name, signal);
  if (request.ifAbsent) await checkAbsent(session, backend, name, signal);
  const image = await backend.push({ path: file, size, extension }, name, {
    annotations,
    progress,
    resume,
    ifAbsent: request.ifAbsent,
    signal,
  });
  session.metadata.noteChange(backend, name, image);
  forgetOlder(session, session.uri(backend, name), closedAt);
  return image;
}

/**
 * Refuses early, which saves the upload; the push itself decides. Asks the service, as the remembered answer may be older than
 * a push by others.
 */
async function checkAbsent(
  session: Session,
  backend: Backend,
  name: ImageName,
  signal: AbortSignal | undefined,
): Promise<void> {
  const image = await backend.resolve(name, signal);
  if (image === undefined) return;
  session.metadata.images.put(backend, name, image);
  throw new SregistryError('EXISTS', `${session.uri(backend, name)} exists already`, {
    hint: 'Rename the file to another tag to push it there, or remove it',
  });
}

/** Supersedes files kept from failed pushes to the same name: they must not replace the image that was pushed after them. */
function forgetOlder(session: Session, uri: string, closedAt: number): void {
  try {
    session.state.journal.supersede(uri, closedAt);
  } catch (error) {
    if (!isError(error, 'DATABASE', 'NO_SPACE')) throw error;
    debug('%s: the journal cannot be written: %o', uri, error);
  }
}

/** What the image says of itself, for the service to keep beside it. If its inside cannot be read, only its name. */
async function annotationsOf(
  file: string,
  name: ImageName,
  signal: AbortSignal | undefined,
): Promise<Record<string, string>> {
  const names = parseImageName(formatImageName(name), {
    lowercase: false,
    defaultCollection: '',
    first: 'host',
  });
  return flattenAnnotations(await getMetadata(file, names, signal));
}

/**
 * Moves the file of a pushed image into the cache. `image` is the result of the push, as the name may stand for another
 * revision by now.
 */
export async function adoptPublished(
  session: Session,
  backendName: string,
  image: RemoteImage,
  file: string,
): Promise<void> {
  const backend = await session.backend(backendName);
  if (backend.localPath === undefined) await session.cache.adopt(backend.target, image, file);
}
