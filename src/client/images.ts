/** The user's own images: adds, renames and lists them. */
import { stat } from 'node:fs/promises';
import type { Container } from '../catalog/container.ts';
import type { Library, Query } from '../catalog/library.ts';
import { formatImageName, parseImageName, removeUri, uriScheme } from '../image/names.ts';
import { metricsOfFile, requireWholeImage } from './image-file.ts';

/** The backend that the library is. */
export const LOCAL = 'local';

export interface AddRequest {
  readonly file: string;
  /** The name it gets; a scheme names the backend it comes from. */
  readonly name: string;
  /** Leave the file where it is. */
  readonly copy?: boolean | undefined;
  readonly progress?: ((done: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** An image of the library as `sregistry images --json` prints it. */
export interface ImageSummary {
  readonly uri: string;
  readonly backend: string;
  /** Bytes; undefined if its file is not there. */
  readonly size: number | undefined;
  readonly digest: string | undefined;
  /** ISO 8601: when it was added. */
  readonly modified: string | undefined;
  /** The backend it was pulled with. */
  readonly client: string;
  readonly path: string | undefined;
  readonly url: string | undefined;
}

/**
 * Adds a file to the library, under its name in lower case, as the Python client does. Throws NOT_AN_IMAGE if it is not an
 * image.
 */
export async function addImage(library: Library, request: AddRequest): Promise<Container> {
  const { file, copy, progress, signal } = request;
  await requireWholeImage(file);
  const { registry, collection, image, tag, version } = parseImageName(removeUri(request.name));
  return library.add({
    name: { registry, collection, image, tag, version },
    file,
    transfer: copy ? 'copy' : 'move',
    client: uriScheme(request.name) ?? LOCAL,
    metrics: await metricsOfFile(file, signal),
    progress,
    signal,
  });
}

/** Gives an image another name, also in lower case. */
export function renameImage(library: Library, query: Query, to: string): Promise<Container> {
  return library.rename(query, parseImageName(removeUri(to)));
}

/** The images whose name holds `query`, by name. */
export async function listImages(library: Library, query?: string): Promise<ImageSummary[]> {
  return Promise.all(library.images(query).map((container) => summaryOf(library, container)));
}

async function summaryOf(library: Library, container: Container): Promise<ImageSummary> {
  const { client, created, file, name, url } = container;
  const size = file === undefined ? undefined : await sizeOf(file);
  return {
    uri: `${LOCAL}://${formatImageName(name)}`,
    backend: LOCAL,
    size,
    digest: library.digestOf(container),
    modified: created?.toISOString(),
    client,
    path: file,
    url,
  };
}

async function sizeOf(file: string): Promise<number | undefined> {
  return stat(file).then(
    (stats) => stats.size,
    () => undefined,
  );
}
