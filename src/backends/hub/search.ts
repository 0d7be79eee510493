/** Search among the names of all images. */
import { pMapIterable } from 'p-map';
import type { ImageName } from '../../image/name.ts';
import { formatImageName } from '../../image/names.ts';
import type { RemoteImage, SearchQuery } from '../backend.ts';
import { hasLabels, nameMatcher } from '../name-match.ts';
import type { Api } from './api.ts';
import type { Collections } from './collections.ts';
import { resolveImage } from './images.ts';

/** Images looked at once. */
const CONCURRENCY = 8;

/** The images that match; those whose manifest is gone are left out. */
export async function* searchImages(
  api: Api,
  collections: Collections,
  { query, labels }: SearchQuery,
  signal?: AbortSignal,
): AsyncGenerator<RemoteImage> {
  const matches = matcher(query);
  const names = (await collections.images(signal)).filter(matches);
  const resolve = (name: ImageName) => resolveImage(api, name, signal);
  for await (const image of pMapIterable(names, resolve, { concurrency: CONCURRENCY })) {
    if (image !== undefined && hasLabels(image.annotations, labels)) yield image;
  }
}

/** What only a regular expression has, and neither a name nor a glob. */
const EXPRESSION = /[\^$()|+\\]|\.[*?]/;

/** As for every backend, and regular expressions besides, which the Python client's search takes here. */
function matcher(query: string): (name: ImageName) => boolean {
  const matches = nameMatcher(query);
  const expression = EXPRESSION.test(query) ? toExpression(query) : undefined;
  return (name) => matches(name) || (expression?.test(formatImageName(name)) ?? false);
}

function toExpression(query: string): RegExp | undefined {
  try {
    return new RegExp(query, 'i');
  } catch {
    return undefined;
  }
}
