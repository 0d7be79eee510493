/** Checks that the answer to a ranged GET is the requested part. */
import { SregistryError } from '../../base/errors.ts';
import { showRequest, type Where } from './errors.ts';
import type { StreamingResponse } from './exchange.ts';

/** The requested range of a resource. */
export interface RangeRequest {
  readonly offset: number;
  /** Bytes; undefined for the rest of the resource. */
  readonly length: number | undefined;
  /** Size of the whole resource in bytes, if known. STALE if the resource has another size. */
  readonly total: number | undefined;
  /** Expected entity tag. STALE if the resource has another one. */
  readonly etag: string | undefined;
  /** Expected `Last-Modified`, compared if there is no entity tag. STALE if the resource has another one. */
  readonly modified: string | undefined;
  /** Send the time as the condition, whatever tag the answers have: not every service compares the tags that it states. */
  readonly byTime?: boolean | undefined;
  /** The service knows no ranges: skip to the offset, however far it is. */
  readonly sequential?: boolean | undefined;
}

/** An answer, and where the requested bytes are in its body. */
export interface RangeResponse {
  readonly answer: StreamingResponse;
  /** Bytes of the body before the first requested one. */
  readonly skip: number;
  /** Bytes to take after those; undefined if the service does not say. */
  readonly length: number | undefined;
  /** Size of the whole resource in bytes, if the service states it. */
  readonly total: number | undefined;
  readonly etag: string | undefined;
  readonly modified: string | undefined;
}

/**
 * Bytes to read and discard at most if a server ignores the range. That is better than failing, and little enough that a random read
 * does not become a download.
 */
const SKIP_MAX = 1024 * 1024;

/** The `Range` header for `wanted`. None for a whole resource, as an empty resource cannot satisfy any range. */
export function rangeHeader({ offset, length, sequential }: RangeRequest): Record<string, string> {
  if (sequential || (offset === 0 && length === undefined)) return {};
  return { range: `bytes=${offset}-${length === undefined ? '' : offset + length - 1}` };
}

/** The precondition that the resource still has this revision. A weak tag never matches `If-Match` (RFC 9110 section 13.1). */
export function condition({ etag, modified, byTime }: RangeRequest): Record<string, string> {
  if (etag !== undefined && !isWeak(etag) && !byTime) return { 'if-match': etag };
  return modified === undefined ? {} : { 'if-unmodified-since': modified };
}

/** The server sends the whole file, whatever part is asked for. */
export class NoRangesError extends SregistryError {}

/** Checks an answer of 200 or 206 against the requested range (RFC 9110 section 14). */
export function checkRangeResponse(answer: StreamingResponse, wanted: RangeRequest): RangeResponse {
  const where = { method: 'GET', url: answer.url };
  const encoding = answer.headers['content-encoding'];
  if (encoding && encoding !== 'identity')
    throw failure(where, `the server sent an encoding that was not requested: ${encoding.slice(0, 40)}`);
  const part = answer.status === 206 ? partial(answer, wanted, where) : whole(answer, wanted, where);
  if (wanted.total !== undefined && part.total !== undefined && part.total !== wanted.total)
    throw stale(where, `the file has changed: it has ${part.total} bytes now, not ${wanted.total}`);
  if (wanted.etag !== undefined && part.etag !== undefined && opaque(part.etag) !== opaque(wanted.etag))
    throw stale(where, 'the file has been replaced');
  if (wanted.etag === undefined && isOther(part.modified, wanted.modified))
    throw stale(where, `the file was modified at ${part.modified}`);
  return part;
}

/** `bytes 0-499/1234`, with `*` for an unknown size (RFC 9110 section 14.4). */
const CONTENT_RANGE = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15}|\*)$/i;

function partial(answer: StreamingResponse, wanted: RangeRequest, where: Where): RangeResponse {
  const header = answer.headers['content-range'] ?? '';
  const match = CONTENT_RANGE.exec(header);
  if (!match)
    throw failure(where, `206 without a usable Content-Range (${JSON.stringify(header.slice(0, 60))})`);
  const [start, end] = [Number(match[1]), Number(match[2])];
  const total = match[3] === '*' ? undefined : Number(match[3]);
  const last = wanted.length === undefined ? Number.POSITIVE_INFINITY : wanted.offset + wanted.length - 1;
  if (start !== wanted.offset || end < start || end > last || (total !== undefined && end >= total))
    throw failure(where, `the server sent another range than requested: ${header}`);
  return { answer, skip: 0, length: end - start + 1, total, ...validators(answer) };
}

function whole(answer: StreamingResponse, wanted: RangeRequest, where: Where): RangeResponse {
  if (wanted.offset > SKIP_MAX && !wanted.sequential)
    throw new NoRangesError(
      'SERVICE',
      `${showRequest(where)}: the server ignored the range (from byte ${wanted.offset})`,
      { hint: 'the server must support range requests: its files can only be read in parts' },
    );
  const size = Number(answer.headers['content-length'] ?? Number.NaN);
  const total = Number.isSafeInteger(size) ? size : undefined;
  if (total !== undefined && wanted.length !== undefined && wanted.offset >= total)
    throw stale(where, `the file has only ${total} bytes`);
  const rest = total === undefined ? undefined : Math.max(0, total - wanted.offset);
  const length = rest === undefined ? wanted.length : Math.min(rest, wanted.length ?? rest);
  return { answer, skip: wanted.offset, length, total, ...validators(answer) };
}

function validators({ headers }: StreamingResponse): Pick<RangeResponse, 'etag' | 'modified'> {
  return { etag: headers.etag, modified: headers['last-modified'] };
}

function isOther(there: string | undefined, wanted: string | undefined): boolean {
  return there !== undefined && wanted !== undefined && there !== wanted;
}

function isWeak(etag: string): boolean {
  return etag.startsWith('W/');
}

/** The tag without the weak mark. On servers that support ranges, both forms of a tag mean the same bytes. */
function opaque(etag: string): string {
  return etag.replace(/^W\//, '');
}

function failure(where: Where, why: string): SregistryError {
  return new SregistryError('SERVICE', `${showRequest(where)}: ${why}`);
}

function stale(where: Where, why: string): SregistryError {
  return new SregistryError('STALE', `${showRequest(where)}: ${why}`, {
    hint: 'open it again to read the new revision',
  });
}
