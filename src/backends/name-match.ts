import picomatch from 'picomatch';
import { sameInAnyCase } from '../base/any-case.ts';
import type { ImageName } from '../image/name.ts';
import { formatImageName } from '../image/names.ts';

/**
 * Does a name match a search? A query with `*`, `?` or brackets is a glob over the whole name (`vsoch/*:latest`; a star also
 * matches slashes). Any other query matches names that contain all of its words. Case does not matter; an empty query matches everything.
 */
export function nameMatcher(query: string): (name: ImageName) => boolean {
  const matches = isPattern(query)
    ? picomatch(query, { nocase: true, dot: true, bash: true })
    : containsAll(query.toLowerCase().split(/\s+/));
  return (name) => matches(formatImageName(name));
}

const containsAll = (words: readonly string[]) => (text: string) =>
  words.every((word) => text.toLowerCase().includes(word));

/** Is a query a glob? */
export function isPattern(query: string): boolean {
  return /[*?[\]{}]/.test(query);
}

/** Are all of these labels among an image's annotations, value for value? Case does not matter: some services fold it. */
export function hasLabels(
  annotations: Readonly<Record<string, string>> | undefined,
  labels: Readonly<Record<string, string>> | undefined,
): boolean {
  const own = Object.entries(annotations ?? {});
  return Object.entries(labels ?? {}).every(([key, value]) =>
    own.some(([name, text]) => sameInAnyCase(name, key) && sameInAnyCase(text, value)),
  );
}
