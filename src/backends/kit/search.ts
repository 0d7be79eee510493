/** Search by name for services that list but do not search: matches the names first, then resolves the matching images. */
import { pMapIterable } from 'p-map';
import type { RemoteImage, SearchQuery } from '../backend.ts';
import { hasLabels } from '../name-match.ts';

/** Images resolved at the same time. */
const CONCURRENCY = 8;

/**
 * The images of `matches` (names, or entries of a listing) that have the labels. Skips images that are gone or cannot be presented as
 * one file.
 */
export async function* imagesOf<T>(
  matches: Iterable<T> | AsyncIterable<T>,
  labels: SearchQuery['labels'],
  resolve: (match: T) => Promise<RemoteImage | undefined>,
): AsyncGenerator<RemoteImage> {
  for await (const image of pMapIterable(matches, resolve, { concurrency: CONCURRENCY })) {
    if (image !== undefined && image.unpresentable === undefined && hasLabels(image.annotations, labels))
      yield image;
  }
}
