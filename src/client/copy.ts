/**
 * Copies an image to another name. Within a service that can copy, the service does it, else the bytes go through the cache.
 */
import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Progress } from '../backends/backend.ts';
import { isError } from '../base/errors.ts';
import { temporaryName } from '../base/files.ts';
import { ensurePrivateFolder } from '../base/private.ts';
import type { RemoteImage } from '../image/remote.ts';
import { publish } from './publish.ts';
import type { Session } from './session.ts';
import { findUsableImage, parseTarget, type Target } from './target.ts';

export interface CopyOptions {
  readonly progress?: Progress | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface Copied {
  readonly uri: string;
  readonly image: RemoteImage;
  /** Did the service copy it, without its bytes passing here? */
  readonly within: boolean;
}

/** Throws the errors of resolving `from` and of pushing to `to`. */
export async function copy(
  session: Session,
  from: string,
  to: string,
  options: CopyOptions = {},
): Promise<Copied> {
  const source = await parseTarget(from, session);
  const target = await parseTarget(to, session);
  const image = await findUsableImage(session, source, options.signal);
  const uri = session.uri(target.backend, target.name);
  const copied = await copyWithin(session, source, image, target, options.signal);
  if (copied !== undefined) return { uri, image: copied, within: true };
  return { uri, image: await copyAcross(session, source, image, target, options), within: false };
}

/** Copies within the service. Undefined if the service cannot. */
async function copyWithin(
  session: Session,
  source: Target,
  image: RemoteImage,
  { backend, name }: Target,
  signal: AbortSignal | undefined,
): Promise<RemoteImage | undefined> {
  if (backend !== source.backend || backend.copy === undefined) return undefined;
  try {
    const copied = await backend.copy(image, name, signal);
    session.metadata.noteChange(backend, name, copied);
    return copied;
  } catch (error) {
    if (isError(error, 'CROSS_BACKEND', 'UNSUPPORTED')) return undefined;
    throw error;
  }
}

async function copyAcross(
  session: Session,
  source: Target,
  image: RemoteImage,
  { backend, name }: Target,
  { progress, signal }: CopyOptions,
): Promise<RemoteImage> {
  ensurePrivateFolder(session.stagingFolder);
  // Named like the staged files of a mount, so that one that a crash leaves behind is cleared away.
  const file = join(session.stagingFolder, `${process.pid}-copy${temporaryName()}`);
  try {
    await session.copyTo(source.backend, image, file, { progress, signal });
    const { size } = await stat(file);
    const { extension } = image;
    return await publish(session, { backend: backend.name, name, extension, file, size, progress, signal });
  } finally {
    await rm(file, { force: true });
  }
}
