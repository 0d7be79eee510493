/**
 * What is known of a backend's images without asking its service: those that were seen, found by their names, their labels and
 * the words in what they say of themselves. For images on this machine, reads the images, which is as cheap.
 */
import type { Backend, SearchQuery } from '../backends/backend.ts';
import { hasLabels, isPattern, nameMatcher } from '../backends/name-match.ts';
import { formatImageName } from '../image/names.ts';
import type { RemoteImage } from '../image/remote.ts';
import { identityOf } from './identity.ts';
import type { Session } from './session.ts';

/** Does an image match, by its name, its labels, or a word in it? */
export type Matcher = (image: RemoteImage) => boolean;

export function matcherOf({ state }: Session, backend: Backend, { query, labels }: SearchQuery): Matcher {
  const source = identityOf(backend);
  const isNamed = nameMatcher(query);
  const worded = new Set(isPattern(query) ? [] : state.texts.find(source, query));
  const known = Object.keys(labels ?? {}).length === 0 ? undefined : state.texts.labels(source);
  return ({ name, annotations }) => {
    const key = formatImageName(name);
    if (!isNamed(name) && !worded.has(key)) return false;
    return hasLabels({ ...annotations, ...known?.get(key) }, labels);
  };
}

/** The images of a backend on this machine, as they are now. */
export async function lookAround(
  session: Session,
  backend: Backend,
  signal?: AbortSignal,
): Promise<RemoteImage[]> {
  const images = await Array.fromAsync(backend.search?.({ query: '' }, signal) ?? []);
  session.state.texts.replace(identityOf(backend), images);
  return images;
}

/** Would the service itself have found an image, if it were still as it was seen? */
export function isFoundByService({ query, labels }: SearchQuery): Matcher {
  const isNamed = nameMatcher(query);
  return ({ name, annotations }) => isNamed(name) && hasLabels(annotations, labels);
}
