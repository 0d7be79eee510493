/**
 * Requests to a library. Answers are `{ "data": ... }`, refusals `{ "error": { "code": ..., "message": ... } }`. A token goes to the
 * library alone, and not with a presigned URL: storages refuse a request with two logins.
 */
import { SregistryError } from '../../base/errors.ts';
import { platformFor } from '../../base/platform.ts';
import { isJsonObject, type JsonObject } from '../../settings/json.ts';
import type { DriverContext } from '../backend.ts';
import { createHttpClient, type HttpClient, type RequestOptions } from '../http.ts';
import { folderAddress } from '../kit/http-files.ts';
import { Renewable } from '../kit/renewable.ts';
import { bearerHeader } from '../kit/token.ts';
import type { declaration } from './declaration.ts';
import { remoteToken } from './remotes.ts';

export interface Api {
  /** Name of the instance. */
  readonly name: string;
  /** Ends in `/`. */
  readonly base: URL;
  readonly http: HttpClient;
  /** Architecture of the images to use, as Go names it. */
  readonly arch: string;
  /** The token of the settings, else that of Apptainer; undefined without a login. */
  token(): Promise<string | undefined>;
  /** Version of the API, such as `2.0.0-alpha.2`; undefined if the library does not say, as Singularity Registry Server. */
  version(signal?: AbortSignal): Promise<string | undefined>;
}

/** Milliseconds for which the version is remembered. */
const VERSION_TTL = 10 * 60_000;

export function createApi({ name, options, env }: DriverContext<typeof declaration.options>): Api {
  const base = folderAddress(options.base ?? '');
  const tokens = new Renewable<string | undefined>({ lifetime: Number.POSITIVE_INFINITY });
  const versions = new Renewable<string | undefined>({ lifetime: VERSION_TTL });
  const token = async () => options.token ?? (await tokens.get('token', () => remoteToken(base, env)));
  const http = createHttpClient({
    base,
    env,
    authorize: async ({ url }) => (isSigned(url) ? {} : bearerHeader(await token())),
    hints: {
      UNAUTHORIZED: `log in with \`sregistry auth login ${name}\`; the library's web page issues tokens`,
      FORBIDDEN: `the token does not permit this; \`sregistry auth login ${name}\` sets another one`,
    },
  });
  const askVersion = async (signal: AbortSignal) => {
    const reply = await http.get('version', { allow: [401, 403, 404], signal });
    const data = reply.status < 300 ? toData(reply.json(), 'version') : undefined;
    return isJsonObject(data) && typeof data.apiVersion === 'string' ? data.apiVersion : undefined;
  };
  return {
    name,
    base,
    http,
    // Libraries know no variants.
    arch: platformFor(options.arch).architecture,
    token,
    version: (signal) => versions.get('version', askVersion, signal),
  };
}

/** Presigned URLs of S3, MinIO, Google and Azure name their signature in the query. */
function isSigned(url: URL): boolean {
  return [...url.searchParams.keys()].some((name) =>
    /^(x-amz-signature|x-goog-signature|signature|sig)$/i.test(name),
  );
}

/** The data of an answer; undefined if the library says that there is no such thing. */
export async function getData(
  { http }: Api,
  path: string,
  options: Pick<RequestOptions, 'query' | 'signal'> = {},
): Promise<unknown> {
  const reply = await http.get(path, { ...options, allow: [404] });
  return reply.status === 404 ? undefined : toData(reply.json(), path);
}

/** The object in the answer to a POST or PUT; empty for an answer without a body. */
export async function send(
  { http }: Api,
  method: 'POST' | 'PUT',
  path: string,
  json: unknown,
  options: Pick<RequestOptions, 'signal' | 'timeout' | 'stall'> = {},
): Promise<JsonObject> {
  const reply = await http.request(method, path, { ...options, json });
  if (reply.bytes.length === 0) return {};
  const data = toData(reply.json(), path);
  return isJsonObject(data) ? data : {};
}

function toData(answer: unknown, path: string): unknown {
  if (isJsonObject(answer)) return answer.data ?? undefined;
  throw new SregistryError('SERVICE', `${path}: the library sent a malformed answer`, {
    hint: 'check that the address is that of a library, such as https://library.example.org',
  });
}

/** A text of the library's answer. Throws SERVICE if it is missing. */
export function textOf(value: unknown, key: string, what: string): string {
  const text = isJsonObject(value) ? value[key] : undefined;
  if (typeof text === 'string' && text !== '') return text;
  throw new SregistryError('SERVICE', `${what}: the library's answer has no ${key}`);
}
