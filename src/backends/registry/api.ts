/**
 * Requests to the API of a Singularity Registry Server, and their signatures.
 *
 * A signature is an HMAC of what the request does, keyed with the user's token, which is never sent. It holds the hour of the request,
 * and the server accepts its own current hour only. So a refused request is signed once more, by the server's clock.
 *
 * The server refuses in several ways: with 403, with 200 and the number 429 or 400 as the body, and with 403 for a client that asked too
 * often. See `shub/apps/api/utils.py` and `shub/apps/api/urls/containers.py`.
 */
import { createHmac } from 'node:crypto';
import { SregistryError } from '../../base/errors.ts';
import type { DriverContext } from '../backend.ts';
import { type BufferedResponse, createHttpClient, type Headers, type HttpClient } from '../http.ts';
import { bearerHeader } from '../kit/token.ts';
import type { declaration } from './declaration.ts';
import type { Subject } from './names.ts';

export interface Api {
  /** Name of the instance. */
  readonly name: string;
  /** Address of the API; ends in `/api/`. */
  readonly base: URL;
  /** Address of the server; ends in `/`. */
  readonly root: URL;
  readonly http: HttpClient;
  readonly login: Login | undefined;
  readonly env: NodeJS.ProcessEnv;
}

interface Login {
  readonly username: string;
  readonly token: string;
}

/** What a signature permits. */
export type Event = 'pull' | 'push' | 'upload' | 'delete';

export function createApi({ name, options, env }: DriverContext<typeof declaration.options>): Api {
  const { username, token, nohttps } = options;
  const base = parseBase(name, options.base, nohttps === true);
  const root = new URL('../', base);
  const library = new URL('v1/', root).href;
  const http = createHttpClient({
    base,
    env,
    // The library API of the same server takes the token itself.
    authorize: ({ url }) => (url.href.startsWith(library) ? bearerHeader(token) : {}),
    hints: {
      RATE_LIMITED: 'the server limits requests and downloads; wait, or ask its operator to raise the limits',
    },
  });
  const login = username && token ? { username, token } : undefined;
  return { name, base, root, http, login, env };
}

/** The address as the Python client reads it: https is added unless told otherwise, `/api` in any case. */
function parseBase(instance: string, text: string, isPlain: boolean): URL {
  const base = URL.parse(/^[a-z]+:\/\//i.test(text) ? text : `${isPlain ? 'http' : 'https'}://${text}`);
  if (base === null || !/^https?:$/.test(base.protocol))
    throw new SregistryError(
      'SETTINGS',
      `${instance}: the option base is not the address of a server: ${text}`,
      {
        hint: 'set it to an address such as https://containers.example.org',
      },
    );
  const path = base.pathname.replace(/\/+$/, '').replace(/\/api$/, '');
  return new URL(`${path}/api/`, base.origin);
}

/** Milliseconds of an hour. */
const HOUR = 3_600_000;

/** `20260102T15Z` */
function hourOf(time: number): string {
  return new Date(time).toISOString().replace(/^(....)-(..)-(..)T(..).*/, '$1$2$3T$4Z');
}

/** The `Authorization` header (`sregistry/main/registry/auth.py` of the Python client). */
export function sign({ username, token }: Login, event: Event, subject: Subject, time: number): Headers {
  const hour = hourOf(time);
  const { collection, image, tag } = subject;
  const payload = `${event}|${collection}|${hour}|${image}|${tag}|`;
  const signature = createHmac('sha256', token).update(payload).digest('hex');
  const user = Buffer.from(username).toString('base64');
  return {
    authorization: `SREGISTRY-HMAC-SHA256 Credential=${event}/${user}/${hour},Signature=${signature}`,
  };
}

/**
 * Sends a signed request, and once more by the server's clock if it is refused in another hour than ours. `send` lets 403 pass.
 *
 * @throws {SregistryError} UNAUTHORIZED without a login, FORBIDDEN if the server refuses.
 */
export async function sendSigned(
  api: Api,
  event: Event,
  subject: Subject,
  send: (headers: Headers) => Promise<BufferedResponse>,
): Promise<BufferedResponse> {
  const { login } = api;
  if (login === undefined) throw noLogin(api, event, subject);
  const now = Date.now();
  const reply = await send(sign(login, event, subject, now));
  if (!isRefused(reply)) return reply;
  const theirs = Date.parse(reply.headers.date ?? '');
  const isOtherHour = Number.isFinite(theirs) && Math.floor(theirs / HOUR) !== Math.floor(now / HOUR);
  const again = isOtherHour ? await send(sign(login, event, subject, theirs)) : reply;
  if (!isRefused(again)) return again;
  throw refusal(api, event, subject, again);
}

/** A wrong signature may also get 200 and the number 400. */
function isRefused(reply: BufferedResponse): boolean {
  return reply.status === 403 || (reply.status === 200 && reply.text().trim() === '400');
}

function refusal(
  { base, name }: Api,
  event: Event,
  subject: Subject,
  reply: BufferedResponse,
): SregistryError {
  const { collection, image, tag } = subject;
  const words = /"(?:detail|message)"\s*:\s*"([^"]{1,200})"/.exec(reply.text())?.[1];
  const said = words === undefined ? '' : `: ${words.replace(/\p{Cc}/gu, ' ')}`;
  return new SregistryError(
    'FORBIDDEN',
    `${base.host} refuses to ${event} ${collection}/${image}:${tag}${said}`,
    {
      hint:
        `check that you are an owner of ${collection}, and the user and token of ${name} (sregistry auth login ${name}). ` +
        'The server also refuses who asks too often',
      status: 403,
    },
  );
}

function noLogin({ base, name }: Api, event: Event, { collection, image, tag }: Subject): SregistryError {
  return new SregistryError(
    'UNAUTHORIZED',
    `${base.host}: to ${event} ${collection}/${image}:${tag} needs a login`,
    {
      hint: `log in with \`sregistry auth login ${name}\`, or set SREGISTRY_REGISTRY_USERNAME and SREGISTRY_REGISTRY_TOKEN`,
    },
  );
}
