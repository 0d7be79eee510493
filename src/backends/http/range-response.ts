/** One answer to a ranged GET: is it the part that was asked for? */
import { SregistryError } from '../../base/errors.ts';
import { showRequest, type Where } from './errors.ts';
import type { StreamingResponse } from './exchange.ts';

/** What is wanted of a resource. */
export interface RangeRequest {
  readonly offset: number;
  /** Bytes; undefined for all that follow. */
  readonly length: number | undefined;
  /** Size of the whole, where it is known; another one is the error STALE. */
  readonly total: number | undefined;
  /** Entity tag that the bytes must belong to; another one is the error STALE. */
  readonly etag: string | undefined;
  /** `Last-Modified`, which counts where there is no entity tag; another one is the error STALE. */
  readonly modified: string | undefined;
}

/** What an answer gives. */
export interface RangeResponse {
  readonly answer: StreamingResponse;
  /** Bytes of the body before the first that is wanted. */
  readonly skip: number;
  /** Bytes to take after those; undefined where the service does not say. */
  readonly length: number | undefined;
  /** Size of the whole, where the service says. */
  readonly total: number | undefined;
  readonly etag: string | undefined;
  readonly modified: string | undefined;
}

/**
 * Bytes that are read and thrown away when a server ignores the range: cheaper than failing, and little enough not to
 * turn a random read into a download.
 */
const SKIP_MAX = 1024 * 1024;

/** The `Range` header for `wanted`; none for a whole resource, which an empty one could not satisfy. */
export function rangeHeader({ offset, length }: RangeRequest): Record<string, string> {
  if (offset === 0 && length === undefined) return {};
  return { range: `bytes=${offset}-${length === undefined ? '' : offset + length - 1}` };
}

/** The precondition that the bytes are of the revision that is wanted; a weak tag never fulfils one (RFC 9110 section 13.1). */
export function condition({ etag, modified }: RangeRequest): Record<string, string> {
  if (etag !== undefined && !isWeak(etag)) return { 'if-match': etag };
  return modified === undefined ? {} : { 'if-unmodified-since': modified };
}

/** Checks an answer of 200 or 206 against what was wanted (RFC 9110 section 14). */
export function checkRangeResponse(answer: StreamingResponse, wanted: RangeRequest): RangeResponse {
  const where = { method: 'GET', url: answer.url };
  const encoding = answer.headers['content-encoding'];
  if (encoding && encoding !== 'identity')
    throw failure(where, `the bytes come encoded (${encoding.slice(0, 40)}), which was not asked for`);
  const part = answer.status === 206 ? partial(answer, wanted, where) : whole(answer, wanted, where);
  if (wanted.total !== undefined && part.total !== undefined && part.total !== wanted.total)
    throw stale(where, `it has ${part.total} bytes now, not ${wanted.total}`);
  if (wanted.etag !== undefined && part.etag !== undefined && opaque(part.etag) !== opaque(wanted.etag))
    throw stale(where, 'it has been replaced');
  if (wanted.etag === undefined && isOther(part.modified, wanted.modified))
    throw stale(where, `it was modified at ${part.modified}`);
  return part;
}

/** `bytes 0-499/1234`, or `*` for a size that is not known (RFC 9110 section 14.4). */
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
    throw failure(where, `the server sent another range than asked: ${header}`);
  return { answer, skip: 0, length: end - start + 1, total, ...validators(answer) };
}

function whole(answer: StreamingResponse, wanted: RangeRequest, where: Where): RangeResponse {
  if (wanted.offset > SKIP_MAX)
    throw failure(
      where,
      `the server ignored the range (from byte ${wanted.offset})`,
      'it cannot be read in parts',
    );
  const size = Number(answer.headers['content-length'] ?? Number.NaN);
  const total = Number.isSafeInteger(size) ? size : undefined;
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

/** A weak tag marks the same bytes as the strong one of that name for every server that serves ranges. */
function opaque(etag: string): string {
  return etag.replace(/^W\//, '');
}

function failure(where: Where, why: string, hint?: string): SregistryError {
  return new SregistryError('SERVICE', `${showRequest(where)}: ${why}`, { hint });
}

function stale(where: Where, why: string): SregistryError {
  return new SregistryError('STALE', `${showRequest(where)}: ${why}`, {
    hint: 'open it again for the new one',
  });
}
