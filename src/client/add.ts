/** Adds images to the library. Apart from images.ts, so that a list of names does not load what reads images. */
import type { Container } from '../catalog/container.ts';
import type { Library } from '../catalog/library.ts';
import { parseImageName, removeUri, uriScheme } from '../image/names.ts';
import { metricsOfFile, requireWholeImage } from './image-file.ts';
import { LOCAL } from './images.ts';

export interface AddRequest {
  readonly file: string;
  /** The name it gets; a scheme names the backend it comes from. */
  readonly name: string;
  /** Leave the file where it is. */
  readonly copy?: boolean | undefined;
  readonly progress?: ((done: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
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
