/** Follows the pages of a listing, and fails if they never end or repeat. */
import { SregistryError } from '../../base/errors.ts';

/** Pages after which a listing counts as endless: ten million names at a thousand per page. */
const MAX_PAGES = 10_000;

export interface PageAnswer<T, M> {
  readonly page: T;
  /** Where the next page begins; undefined after the last page. Read only after the page was yielded. */
  readonly next: M | undefined;
}

/**
 * The pages of a listing, one at a time. `ask` fetches the page that begins at its argument; the first page begins at `first`.
 *
 * @throws {SregistryError} SERVICE for a repeated page, and after 10,000 pages. `what` names the listing in the message.
 */
export async function* followPages<T, M>(
  what: string,
  ask: (at: M | undefined) => Promise<PageAnswer<T, M>>,
  first?: M,
): AsyncGenerator<T> {
  const seen = new Set<string | undefined>();
  for (let at = first; seen.size < MAX_PAGES; ) {
    const text = JSON.stringify(at);
    if (seen.has(text)) throw new SregistryError('SERVICE', `${what}: its pages repeat`);
    seen.add(text);
    const answer = await ask(at);
    yield answer.page;
    at = answer.next;
    if (at === undefined) return;
  }
  throw new SregistryError('SERVICE', `${what}: more than ${MAX_PAGES} pages`);
}
