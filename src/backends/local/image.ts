/** Converts containers of the library to remote images. */
import { stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { SregistryError } from '../../base/errors.ts';
import { fileError, fileRevision } from '../../base/files.ts';
import type { Container } from '../../catalog/container.ts';
import { inspectedOf, labelsOf } from '../../catalog/labels.ts';
import type { Library } from '../../catalog/library.ts';
import { INSPECT_KEY } from '../../image/annotations.ts';
import { folderOf, type ImageName } from '../../image/name.ts';
import { formatImageName, splitExtension } from '../../image/names.ts';
import type { RemoteImage } from '../backend.ts';

/** A container, and the name under which the mount shows it. */
export interface Shown {
  readonly container: Container;
  readonly name: ImageName;
}

/** The handle of an image. */
interface Handle extends Record<string, unknown> {
  readonly path: string;
  /** Its name in the library, version included. */
  readonly name: ImageName;
}

export function pathOf(image: RemoteImage): string {
  return (image.handle as Handle).path;
}

export function libraryNameOf(image: RemoteImage): ImageName {
  return (image.handle as Handle).name;
}

/** Every container. The newest one of a name is shown without its version, older ones with it. */
export function shown(library: Library): Shown[] {
  const seen = new Set<string>();
  return library.images().map((container) => {
    const { image, tag, version } = container.name;
    const name = { collection: folderOf(container.name), image, tag };
    const key = formatImageName(name);
    const isNewest = !seen.has(key);
    seen.add(key);
    return { container, name: isNewest ? name : { ...name, version } };
  });
}

/** The image; undefined if its file is missing. */
export async function toRemote(
  library: Library,
  { container, name }: Shown,
): Promise<RemoteImage | undefined> {
  const { file } = container;
  if (file === undefined) return undefined;
  const stats = await stat(file, { bigint: true }).catch((error: unknown) => {
    const failure = fileError('read', file, error);
    if (failure instanceof SregistryError && failure.code === 'NOT_FOUND') return undefined;
    throw failure;
  });
  if (stats === undefined) return undefined;
  const handle: Handle = { path: file, name: container.name };
  return {
    name,
    size: Number(stats.size),
    modified: stats.mtime,
    digest: library.digestOf(container),
    revision: fileRevision(stats),
    annotations: annotationsOf(container),
    extension: splitExtension(basename(file)).extension,
    handle,
  };
}

function annotationsOf({ metrics }: Container): Record<string, string> {
  const inspected = inspectedOf(metrics);
  const labels = labelsOf(metrics);
  return inspected === undefined ? labels : { ...labels, [INSPECT_KEY]: JSON.stringify(inspected) };
}
