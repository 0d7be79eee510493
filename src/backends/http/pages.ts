/** Listings that come in pages, linked by `Link: <...>; rel="next"` (RFC 8288). */
import LinkHeader from 'http-link-header';
import { SregistryError } from '../../base/errors.ts';
import { showRequest } from './errors.ts';
import { complete, type Reply, type RequestOptions, resolveUrl, type Session } from './session.ts';
import { showUrl } from './url.ts';

/** Pages after which a listing counts as endless. */
const MAX_PAGES = 10_000;

/**
 * The pages of a listing, one at a time. A page seen before, more than 10,000 pages, and a next page on another
 * origin than the page that links it are the error SERVICE: a service's names are told by that service alone. Redirects are
 * followed as for every request.
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
  const next = parseNext(header, page.url);
  if (next !== undefined && next.origin !== page.url.origin) {
    const what = showRequest({ method: 'GET', url: page.url });
    throw new SregistryError('SERVICE', `${what}: refused to follow its next page to ${showUrl(next)}`, {
      hint: `a listing stays on ${page.url.origin}; a proxy before the service may hide its own address from it`,
    });
  }
  return next;
}

function parseNext(header: string, base: URL): URL | undefined {
  try {
    const target = LinkHeader.parse(header).rel('next')[0]?.uri;
    return target === undefined ? undefined : new URL(target, base);
  } catch (cause) {
    const what = showRequest({ method: 'GET', url: base });
    throw new SregistryError('SERVICE', `${what}: a malformed Link header`, { cause });
  }
}
