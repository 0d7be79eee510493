/**
 * Requests to Singularity Hub, or to another server with its API. There is no login.
 *
 * Singularity Hub closed in April 2021. Its images are in a read-only archive under the same addresses, which may be switched off at
 * any time. So the hints of failures say that. A web page as an answer is a failure and never means "no such image": the host may by
 * then belong to somebody else.
 */
import { isError, SregistryError } from '../../base/errors.ts';
import type { DriverContext } from '../backend.ts';
import { createHttpClient, type HttpClient, showUrl } from '../http.ts';

export interface Api {
  /** Ends in `/`, so that relative paths resolve below it. */
  readonly base: URL;
  readonly http: HttpClient;
}

export function createApi({ name, options, env }: DriverContext): Api {
  const base = parseBase(name, String(options.base ?? ''));
  return { base, http: createHttpClient({ base, env }) };
}

/** Parses the base URL. A URL without a path means `/api` on that host. */
function parseBase(instance: string, text: string): URL {
  const base = URL.parse(text);
  if (base === null || !/^https?:$/.test(base.protocol))
    throw new SregistryError(
      'SETTINGS',
      `${instance}: the option base is not the address of an API: ${text}`,
      {
        hint: 'set it to an address such as https://singularity-hub.org/api',
      },
    );
  base.pathname = base.pathname === '/' ? '/api/' : base.pathname.replace(/\/*$/, '/');
  return base;
}

const GONE_HINT =
  'Singularity Hub has been an archive since 2021 and may be switched off. Cached images stay readable. ' +
  'To use another server with its API, set SREGISTRY_HUB_BASE';

/** Waits for a request. If it failed, the error's hint tells what happened to Singularity Hub. */
export async function ask<T>(request: Promise<T>): Promise<T> {
  try {
    return await request;
  } catch (error) {
    if (!isError(error, 'UNREACHABLE', 'TIMED_OUT', 'SERVICE')) throw error;
    const { code, message, status, retryAfter, cause } = error;
    throw new SregistryError(code, message, { hint: GONE_HINT, status, retryAfter, cause });
  }
}

/** Statuses with which a parked host sends a web page. */
const PAGE_STATUSES = [403, 404, 410];

/** GETs a path of the API. Returns its JSON, or only the status if that is in `allow`. Throws SERVICE for a web page. */
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
    throw new SregistryError(
      'SERVICE',
      `GET ${where}: the service sent a web page (${status}) instead of JSON`,
    );
  if (status >= 300 && !allow.includes(status))
    throw new SregistryError(status === 403 ? 'FORBIDDEN' : 'NOT_FOUND', `GET ${where}: ${status}`, {
      status,
    });
  return { status, value: status < 300 ? reply.json() : undefined };
}
