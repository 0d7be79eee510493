/** Search: the whole bucket is listed, a page at a time, and what matches comes as it is found. */
import { pMapIterable } from 'p-map';
import type { RemoteImage, SearchQuery } from '../backend.ts';
import { hasLabels, nameMatcher } from '../name-match.ts';
import type { Bucket } from './bucket.ts';
import { findObject, toRemoteImage } from './images.ts';
import { identityOf, parseKey } from './layout.ts';
import { toListedImage } from './listing.ts';
import { listObjects } from './objects.ts';

/** Images whose metadata are asked for at once. */
const CONCURRENCY = 8;

/** A listing knows no metadata: only a search for labels asks for them, image by image. */
export async function* searchImages(
  bucket: Bucket,
  { query, labels = {} }: SearchQuery,
  signal?: AbortSignal,
): AsyncGenerator<RemoteImage> {
  const matches = matchingImages(bucket, query, signal);
  if (Object.keys(labels).length === 0) {
    yield* matches;
    return;
  }
  const describe = async ({ name, handle }: RemoteImage) => {
    const found = await findObject(bucket, [String(handle.key)], signal);
    return found && toRemoteImage(bucket, name, found, signal);
  };
  for await (const image of pMapIterable(matches, describe, { concurrency: CONCURRENCY })) {
    if (image !== undefined && hasLabels(image.annotations, labels)) yield image;
  }
}

/** Of several objects of one image only the first counts, which others may come before: those wait until the end. */
async function* matchingImages(
  bucket: Bucket,
  query: string,
  signal?: AbortSignal,
): AsyncGenerator<RemoteImage> {
  const matches = nameMatcher(query);
  const seen = new Set<string>();
  const waiting = new Map<string, { readonly rank: number; readonly image: RemoteImage }>();
  for await (const { objects } of listObjects(bucket, {}, signal)) {
    for (const object of objects) {
      const parts = parseKey(object.key);
      if (parts === undefined || !matches(parts.name)) continue;
      const [identity, image] = [identityOf(parts.name), toListedImage(parts, object)];
      if (parts.rank === 0) {
        seen.add(identity);
        yield image;
      } else if (parts.rank < (waiting.get(identity)?.rank ?? Number.POSITIVE_INFINITY)) {
        waiting.set(identity, { rank: parts.rank, image });
      }
    }
  }
  for (const [identity, { image }] of waiting) if (!seen.has(identity)) yield image;
}
