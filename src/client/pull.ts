/** Pulls an image of a backend into a file, into the library, or both. Bytes that the cache has are not fetched again. */
import { chmod, lstat, mkdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { Progress } from '../backends/backend.ts';
import { SregistryError } from '../base/errors.ts';
import { fileError, temporaryName } from '../base/files.ts';
import type { Container } from '../catalog/container.ts';
import type { Transfer } from '../catalog/storage.ts';
import type { ImageName } from '../image/name.ts';
import type { RemoteImage } from '../image/remote.ts';
import { convert } from './convert.ts';
import { metricsOfFile } from './image-file.ts';
import { isLayered } from './layered-images.ts';
import { isLibraryDisabled } from './library.ts';
import type { Session } from './session.ts';
import { defaultFileName, findUsableImage, parseTarget, type Target } from './target.ts';

export interface PullOptions {
  /**
   * Path to write the image to. Default: its place in the library, or a file in the working directory if the library does not
   * keep it.
   */
  readonly file?: string | undefined;
  /** Replace an existing file. */
  readonly force?: boolean | undefined;
  /** Keep the image out of the library. */
  readonly noLibrary?: boolean | undefined;
  readonly progress?: Progress | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface Pulled {
  readonly uri: string;
  readonly image: RemoteImage;
  /** Of the whole image. */
  readonly path: string;
}

/**
 * Throws EXISTS if the file exists, NOT_FOUND, NOT_PRESENTABLE, CORRUPT if the bytes do not have the stated digest; else the
 * backend's errors.
 */
export async function pull(session: Session, text: string, options: PullOptions = {}): Promise<Pulled> {
  const { signal } = options;
  const target = await parseTarget(text, session);
  const noLibrary = options.noLibrary || isLibraryDisabled(session.env);
  const given = options.file === undefined ? undefined : resolve(options.file);
  if (given !== undefined && !options.force) await refuseToReplace(given);

  const image = await findUsableImage(session, target, signal);
  const name = versioned(target, image);
  const file = given ?? (noLibrary ? resolve(defaultFileName(name)) : undefined);
  if (file !== undefined && file !== given && !options.force) await refuseToReplace(file);
  const uri = session.uri(target.backend, target.name);
  if (file !== undefined) await writeFile(session, target, image, file, options);
  const stored = noLibrary ? undefined : await keep(session, target, image, file, options);
  const path = (file ?? stored) as string;
  return { uri, image: await asWritten(image, path), path };
}

/** The image with the size that its file has. That of a container in layers was an estimate. */
async function asWritten(image: RemoteImage, path: string): Promise<RemoteImage> {
  return isLayered(image) ? { ...image, size: (await stat(path)).size } : image;
}

/** The name, with the service's own version of the image if it has one. */
function versioned({ name }: Target, { version }: RemoteImage): ImageName {
  return { ...name, version: name.version ?? version };
}

async function refuseToReplace(file: string): Promise<void> {
  const isThere = await lstat(file).then(
    () => true,
    () => false,
  );
  if (isThere)
    throw new SregistryError('EXISTS', `${file} exists already`, { hint: 'Replace it with --force' });
}

/** Writes the file under a temporary name and renames it when it is whole. */
async function writeFile(
  session: Session,
  target: Target,
  image: RemoteImage,
  file: string,
  options: PullOptions,
): Promise<void> {
  const temporary = join(dirname(file), temporaryName());
  try {
    await bring(session, target, image, temporary, options);
    await rename(temporary, file);
  } catch (error) {
    throw fileError('write', file, error);
  } finally {
    await rm(temporary, { force: true });
  }
}

/** Adds the image to the library, from `file` if it was written to one. Returns its path there. */
async function keep(
  session: Session,
  target: Target,
  image: RemoteImage,
  file: string | undefined,
  options: PullOptions,
): Promise<string> {
  const { backend } = target;
  if (backend.driver === 'local' && backend.localPath !== undefined) return backend.localPath(image);
  if (file !== undefined) return addToLibrary(session, target, image, { file, transfer: 'copy' }, options);
  const known = knownContainer(session, target, image);
  if (known?.file !== undefined) return known.file;
  const { storage } = session.paths;
  const temporary = join(storage, temporaryName());
  try {
    await mkdir(storage, { recursive: true });
    await bring(session, target, image, temporary, options);
    return await addToLibrary(session, target, image, { file: temporary, transfer: 'move' }, options);
  } catch (error) {
    throw fileError('store in', storage, error);
  } finally {
    await rm(temporary, { force: true });
  }
}

/** The library's copy of exactly this image, under this name and from this backend. */
function knownContainer(
  { library }: Session,
  { backend, name }: Target,
  { digest }: RemoteImage,
): Container | undefined {
  if (digest === undefined) return undefined;
  const known = library.get({ ...name, version: name.version ?? digest });
  const isSame = known?.client === backend.name && library.digestOf(known) === digest;
  return isSame ? known : undefined;
}

async function addToLibrary(
  session: Session,
  target: Target,
  image: RemoteImage,
  bytes: { file: string; transfer: Transfer },
  { signal }: PullOptions,
): Promise<string> {
  const { backend, name } = target;
  const container = await session.library.add({
    ...bytes,
    name: versioned(target, image),
    client: backend.name,
    url: session.uri(backend, name),
    metrics: await metricsOfFile(bytes.file, signal),
    digest: image.digest,
    signal,
  });
  return container.file as string;
}

/** Writes the image to a new file, which everyone who may read it may execute. */
async function bring(
  session: Session,
  { backend }: Target,
  image: RemoteImage,
  file: string,
  { progress, signal }: PullOptions,
): Promise<void> {
  if (isLayered(image)) await convert(session, backend, image, file, { progress, signal });
  else await session.copyTo(backend, image, file, { progress, signal });
  const { mode } = await stat(file);
  await chmod(file, mode | ((mode & 0o444) >> 2));
}
