/** The guard of every listing that comes in pages: a service that never ends, or sends in circles, is an error. */
import { SregistryError } from '../../base/errors.ts';

/** Pages after which a listing counts as endless: ten million names where a page has a thousand. */
const MAX_PAGES = 10_000;

export interface PageAnswer<T, M> {
  readonly page: T;
  /** Where the next page begins; undefined after the last. Read after the page was taken. */
  readonly next: M | undefined;
}

/**
 * The pages of a listing, one at a time. `ask` gets where a page begins: `first` for the first one.
 *
 * @throws {SregistryError} SERVICE for a page that was there before, and after 10,000 pages. `what` names the listing.
 */
export async function* followPages<T, M>(
  what: string,
  ask: (at: M | undefined) => Promise<PageAnswer<T, M>>,
  first?: M,
): AsyncGenerator<T> {
  const seen = new Set<string | undefined>();
  for (let at = first; seen.size < MAX_PAGES; ) {
    const text = JSON.stringify(at);
    if (seen.has(text)) throw new SregistryError('SERVICE', `${what}: its pages go in circles`);
    seen.add(text);
    const answer = await ask(at);
    yield answer.page;
    at = answer.next;
    if (at === undefined) return;
  }
  throw new SregistryError('SERVICE', `${what}: more than ${MAX_PAGES} pages`);
}
