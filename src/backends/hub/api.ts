/**
 * The service behind a hub backend: Singularity Hub itself, or a server that has its API. Nobody logs in to it.
 *
 * Singularity Hub was closed in April 2021. What it held went into a read-only archive under the same addresses, which
 * may be switched off any day; so its failures say that, and an answer that is a web page is a failure, never an
 * image's absence: whoever serves that host by then knows nothing of images.
 */
import { isError, SregistryError } from '../../base/errors.ts';
import type { DriverContext } from '../backend.ts';
import { createHttpClient, type HttpClient, showUrl } from '../http.ts';

export interface Api {
  /** Ends in `/`, so that paths are resolved below it. */
  readonly base: URL;
  readonly http: HttpClient;
}

export function createApi({ name, options, env }: DriverContext): Api {
  const base = parseBase(name, String(options.base ?? ''));
  return { base, http: createHttpClient({ base, env }) };
}

/** An address without a path means `/api` there. */
function parseBase(instance: string, text: string): URL {
  const base = URL.parse(text);
  if (base === null || !/^https?:$/.test(base.protocol))
    throw new SregistryError('SETTINGS', `${instance}: base is not the address of an API: ${text}`, {
      hint: 'give it as https://singularity-hub.org/api',
    });
  base.pathname = base.pathname === '/' ? '/api/' : base.pathname.replace(/\/*$/, '/');
  return base;
}

const GONE_HINT =
  'Singularity Hub is an archive since 2021 that may be switched off; images in the cache go on working, and ' +
  'SREGISTRY_HUB_BASE names another server with its API';

/** Runs a request; if the service did not answer it as it should, the error says what became of Singularity Hub. */
export async function ask<T>(request: Promise<T>): Promise<T> {
  try {
    return await request;
  } catch (error) {
    if (!isError(error, 'UNREACHABLE', 'TIMED_OUT', 'SERVICE')) throw error;
    const { code, message, status, retryAfter, cause } = error;
    throw new SregistryError(code, message, { hint: GONE_HINT, status, retryAfter, cause });
  }
}

/** Statuses that a parked or emptied host gives with a web page. */
const PAGE_STATUSES = [403, 404, 410];

/** GET of a path of the API: its JSON, or the status if that is one of `allow`. A web page is the error SERVICE. */
export async function getJson(
  api: Api,
  path: string | URL,
  allow: readonly number[],
  signal?: AbortSignal,
): Promise<{ readonly status: number; readonly value: unknown }> {
  return ask(fetchJson(api, path, allow, signal));
}

async function fetchJson(api: Api, path: string | URL, allow: readonly number[], signal?: AbortSignal) {
  const headers = { accept: 'application/json' };
  const reply = await api.http.get(path, { headers, allow: [...allow, ...PAGE_STATUSES], signal });
  const { status } = reply;
  const where = showUrl(reply.url);
  if (/html/i.test(reply.headers['content-type'] ?? ''))
    throw new SregistryError('SERVICE', `GET ${where}: a web page (${status}) instead of the API`);
  if (status >= 300 && !allow.includes(status))
    throw new SregistryError(status === 403 ? 'FORBIDDEN' : 'NOT_FOUND', `GET ${where}: ${status}`, {
      status,
    });
  return { status, value: status < 300 ? reply.json() : undefined };
}
