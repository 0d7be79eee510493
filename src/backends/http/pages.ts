/** Listings in pages that are linked by `Link: <...>; rel="next"` (RFC 8288). */
import LinkHeader from 'http-link-header';
import { SregistryError } from '../../base/errors.ts';
import { followPages } from '../kit/pages.ts';
import { showRequest } from './errors.ts';
import {
  type BufferedResponse,
  complete,
  type RequestOptions,
  resolveUrl,
  type Transport,
} from './transport.ts';
import { showUrl } from './url.ts';

/**
 * The pages of a listing, one at a time. Throws SERVICE for a page seen before, for more than 10,000 pages, and for a next page on
 * another origin: only the service itself may list its names. Redirects are followed as for every request.
 */
export async function* paginate(
  transport: Transport,
  url: string | URL,
  options: RequestOptions = {},
): AsyncGenerator<BufferedResponse> {
  const { query, ...rest } = options;
  const first = resolveUrl(transport, url, query);
  const ask = async (at = first) => {
    const page = await complete(transport, 'GET', at, rest);
    return {
      page,
      get next() {
        return nextPage(page.headers.link, page.url);
      },
    };
  };
  yield* followPages(showRequest({ method: 'GET', url: first }), ask, first);
}

/** The next page, from the Link header of the page at `page`. Throws SERVICE for a malformed header, and as {@link nextAddress} does. */
export function nextPage(header: string | undefined, page: URL): URL | undefined {
  const next = header === undefined ? undefined : parseNext(header, page);
  return next && nextAddress(next.href, page);
}

/**
 * The address of the next page, which the page at `page` states. A service behind a TLS proxy may state its own host with plain http;
 * the next request uses https like the one before.
 *
 * @throws {SregistryError} SERVICE for a malformed address, or one on another origin.
 */
export function nextAddress(stated: string, page: URL): URL {
  const what = showRequest({ method: 'GET', url: page });
  const next = URL.parse(stated, page.href);
  if (next === null) throw new SregistryError('SERVICE', `${what}: a malformed address of the next page`);
  if (next.origin === page.origin) return next;
  if (next.protocol === 'http:' && page.protocol === 'https:' && next.host === page.hostname)
    return new URL(`${next.pathname}${next.search}`, page);
  throw new SregistryError('SERVICE', `${what}: refused its next page on another origin, ${showUrl(next)}`, {
    hint: `a listing must stay on ${page.origin}; a proxy in front of the service may hide that address from it`,
  });
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
