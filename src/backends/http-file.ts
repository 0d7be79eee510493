/**
 * A file that a web server hands out, as one revision: for the drivers whose images have a URL each. What HEAD says of it
 * pins the revision (the entity tag, else the time of modification, else the size alone), and every read is held to that.
 */
import type { Readable } from 'node:stream';
import { parseDate } from '../base/date.ts';
import { SregistryError } from '../base/errors.ts';
import type { Headers, HttpClient, RedirectMemory } from './http.ts';
import { showUrl } from './http.ts';

/** What it takes to read the file again; plain JSON, for an image's handle. */
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
  /** Changes when the bytes do, as far as the server tells. */
  readonly revision: string;
  /** Of the answer. */
  readonly headers: Headers;
}

export interface FindOptions {
  /** Sent with the request. */
  readonly headers?: Headers | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * The file at `url`; undefined where the server says that there is none.
 *
 * @throws {SregistryError} SERVICE where what is there can be no image: a web page, or something of unknown size.
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
 * As {@link findFile}, by a GET of the first byte: for addresses that are signed for a GET and refuse HEAD. The whole file is
 * sent by a server that does not know ranges.
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

/** `length`: bytes of the file, as the server wrote it. */
function toFile(url: URL, headers: Headers, length: string | undefined): HttpFile {
  const { 'last-modified': modified, etag } = headers;
  if (/^text\/html\b/i.test(headers['content-type'] ?? ''))
    throw unusable(url, 'the server answers with a web page instead of a file', 'it may want a login');
  if (length === undefined || !/^\d{1,15}$/.test(length))
    throw unusable(url, 'the server does not say its size');
  return {
    location: { url: url.href, ...(etag && { etag }), ...(modified && { modified }) },
    size: Number(length),
    modified: parseDate(modified),
    revision: [etag ?? modified, length].filter(Boolean).join(' '),
    headers,
  };
}

export interface ReadOptions {
  readonly offset: number;
  readonly length: number;
  /** Bytes of the whole file. */
  readonly size: number;
  readonly redirects?: RedirectMemory | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A range of exactly that revision, else the error STALE. */
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
