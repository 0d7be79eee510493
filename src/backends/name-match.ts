import picomatch from 'picomatch';
import type { ImageName } from '../image/name.ts';
import { formatImageName } from '../image/names.ts';

/**
 * Does a name match a search? A query with `*`, `?` or brackets is a glob over the whole name (`vsoch/*:latest`; a star also
 * matches slashes). Any other query matches names that contain it. Case does not matter; an empty query matches everything.
 */
export function nameMatcher(query: string): (name: ImageName) => boolean {
  const matches = isPattern(query)
    ? picomatch(query, { nocase: true, dot: true, bash: true })
    : (text: string) => text.toLowerCase().includes(query.toLowerCase());
  return (name) => matches(formatImageName(name));
}

/** Is a query a glob? */
export function isPattern(query: string): boolean {
  return /[*?[\]{}]/.test(query);
}

/** Are all of these labels among an image's annotations, value for value? */
export function hasLabels(
  annotations: Readonly<Record<string, string>> | undefined,
  labels: Readonly<Record<string, string>> | undefined,
): boolean {
  return Object.entries(labels ?? {}).every(([key, value]) => annotations?.[key] === value);
}
