/** The user's own images: renames and lists them. */
import { stat } from 'node:fs/promises';
import type { Container } from '../catalog/container.ts';
import type { Library, Query } from '../catalog/library.ts';
import { formatImageName, parseImageName, removeUri } from '../image/names.ts';

/** The backend that the library is. */
export const LOCAL = 'local';

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
