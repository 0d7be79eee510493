/**
 * One revision of a file on a web server, for drivers whose images have a URL each. HEAD tells the revision: the entity tag, else
 * the modification time, else only the size. Every read is checked against it.
 */
import type { Readable } from 'node:stream';
import { parseDate } from '../base/date.ts';
import { SregistryError } from '../base/errors.ts';
import type { RemoteImage } from '../image/remote.ts';
import type { Headers, HttpClient, RedirectMemory } from './http.ts';
import { showUrl } from './http.ts';
import { unreadableHandle } from './kit/stale.ts';

/** What a read needs to find this revision again; plain JSON, for an image's handle. */
export interface FileLocation extends Record<string, unknown> {
  readonly url: string;
  readonly etag?: string;
  /** `Last-Modified` as the server wrote it. */
  readonly modified?: string;
}

export interface HttpFile {
  readonly location: FileLocation;
  /** Bytes. */
  readonly size: number;
  readonly modified: Date | undefined;
  /** Changes when the bytes change, as far as the server tells. */
  readonly revision: string;
  /** Headers of the answer. */
  readonly headers: Headers;
}

export interface FindOptions {
  /** Sent with the request. */
  readonly headers?: Headers | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * The file at `url`; undefined if the server says that there is none.
 *
 * @throws {SregistryError} SERVICE if the answer cannot be an image: a web page, or a file of unknown size.
 */
export async function findFile(
  http: HttpClient,
  url: URL,
  { headers, signal }: FindOptions = {},
): Promise<HttpFile | undefined> {
  const reply = await http.head(url, {
    headers: { 'accept-encoding': 'identity', ...headers },
    allow: [404, 410],
    signal,
  });
  return reply.status >= 400 ? undefined : toFile(url, reply.headers, reply.headers['content-length']);
}

/**
 * Like {@link findFile}, but by a GET of the first byte: for URLs that are signed for GET and refuse HEAD. A server without support
 * for ranges sends the whole file.
 */
export async function probeFile(
  http: HttpClient,
  url: URL,
  { headers, signal }: FindOptions = {},
): Promise<HttpFile | undefined> {
  const reply = await http.get(url, {
    headers: { 'accept-encoding': 'identity', range: 'bytes=0-0', ...headers },
    allow: [404, 410],
    signal,
  });
  if (reply.status >= 400) return undefined;
  const { 'content-range': range, 'content-length': length } = reply.headers;
  return toFile(url, reply.headers, reply.status === 206 ? range?.replace(/^.*\//, '') : length);
}

/** `length` is the size of the file in bytes, as the server wrote it. */
function toFile(url: URL, headers: Headers, length: string | undefined): HttpFile {
  const { 'last-modified': modified, etag } = headers;
  if (/^text\/html\b/i.test(headers['content-type'] ?? ''))
    throw unusable(url, 'the server sent a web page instead of a file', 'the server may require a login');
  if (length === undefined || !/^\d{1,15}$/.test(length))
    throw unusable(url, 'the server does not state the size of the file');
  return {
    location: { url: url.href, ...(etag && { etag }), ...(modified && { modified }) },
    size: Number(length),
    modified: parseDate(modified),
    revision: [etag ?? modified, length].filter(Boolean).join(' '),
    headers,
  };
}

/** The location of a file that has one of its own for a handle, which may come out of the catalog. STALE if it cannot be read. */
export function locationIn({ handle }: Pick<RemoteImage, 'handle'>, target: string): FileLocation {
  const { url, etag, modified } = handle;
  const validators = [etag, modified].filter((one) => one !== undefined);
  if (typeof url !== 'string' || !URL.canParse(url) || validators.some((one) => typeof one !== 'string'))
    throw unreadableHandle(target);
  return handle as unknown as FileLocation;
}

export interface ReadOptions {
  readonly offset: number;
  readonly length: number;
  /** Bytes of the whole file. */
  readonly size: number;
  readonly redirects?: RedirectMemory | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A stream of a range of this revision. Throws STALE if the revision changed. */
export function readFile(
  http: HttpClient,
  { url, etag, modified }: FileLocation,
  { size, ...range }: ReadOptions,
): Promise<Readable> {
  return http.stream(url, { ...range, total: size, ifMatch: etag, ifUnmodifiedSince: modified });
}

function unusable(url: URL, why: string, hint?: string): SregistryError {
  return new SregistryError('SERVICE', `${showUrl(url)}: ${why}`, { hint });
}
