/** Listings that come in pages, linked by `Link: <...>; rel="next"` (RFC 8288). */
import LinkHeader from 'http-link-header';
import { SregistryError } from '../../base/errors.ts';
import { showRequest } from './errors.ts';
import { complete, type Reply, type RequestOptions, resolveUrl, type Session } from './session.ts';

/** Pages after which a listing counts as endless. */
const MAX_PAGES = 10_000;

/**
 * The pages of a listing, one at a time. A page seen before and more than 10,000 pages are the error SERVICE. A next page on
 * another origin is asked for without credentials, as is every request to one.
 */
export async function* paginate(
  session: Session,
  url: string | URL,
  options: RequestOptions = {},
): AsyncGenerator<Reply> {
  const { query, ...rest } = options;
  const seen = new Set<string>();
  let next: URL | undefined = resolveUrl(session, url, query);
  while (next !== undefined) {
    const where = { method: 'GET', url: next };
    if (seen.has(next.href))
      throw new SregistryError('SERVICE', `${showRequest(where)}: its pages go in circles`);
    if (seen.size >= MAX_PAGES)
      throw new SregistryError('SERVICE', `${showRequest(where)}: more than ${MAX_PAGES} pages`);
    seen.add(next.href);
    const page = await complete(session, 'GET', next, rest);
    yield page;
    next = nextPage(page);
  }
}

function nextPage(page: Reply): URL | undefined {
  const header = page.headers.link;
  if (header === undefined) return undefined;
  try {
    const target = LinkHeader.parse(header).rel('next')[0]?.uri;
    return target === undefined ? undefined : new URL(target, page.url);
  } catch (cause) {
    const what = showRequest({ method: 'GET', url: page.url });
    throw new SregistryError('SERVICE', `${what}: a malformed Link header`, { cause });
  }
}
