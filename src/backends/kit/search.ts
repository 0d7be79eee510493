/** Search by name, for services that list but do not search: match the names first, then look at the images that match. */
import { pMapIterable } from 'p-map';
import type { ImageName } from '../../image/name.ts';
import type { RemoteImage, SearchQuery } from '../backend.ts';
import { hasLabels } from '../name-match.ts';

/** Images looked at once. */
const CONCURRENCY = 8;

/** The images of `names` that have the labels; those that are gone or cannot be presented as one file are left out. */
export async function* imagesOf(
  names: Iterable<ImageName> | AsyncIterable<ImageName>,
  labels: SearchQuery['labels'],
  resolve: (name: ImageName) => Promise<RemoteImage | undefined>,
): AsyncGenerator<RemoteImage> {
  for await (const image of pMapIterable(names, resolve, { concurrency: CONCURRENCY })) {
    if (image !== undefined && image.unpresentable === undefined && hasLabels(image.annotations, labels))
      yield image;
  }
}
