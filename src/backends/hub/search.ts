/** The names of all images that match a query: as for every backend, and by regular expressions, as the Python client's search. */
import type { ImageName } from '../../image/name.ts';
import { formatImageName } from '../../image/names.ts';
import { nameMatcher } from '../name-match.ts';

/** What only a regular expression has, and neither a name nor a glob. */
const EXPRESSION = /[\^$()|+\\]|\.[*?]/;

export function matcher(query: string): (name: ImageName) => boolean {
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
