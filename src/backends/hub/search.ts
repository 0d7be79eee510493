/** Matches names against a query: as in every backend, and also by regular expression, as in the Python client. */
import type { ImageName } from '../../image/name.ts';
import { formatImageName } from '../../image/names.ts';
import { nameMatcher } from '../name-match.ts';

/** Characters that occur in regular expressions, but in neither names nor globs. */
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
