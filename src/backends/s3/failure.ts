/**
 * Errors that an S3 service sends: an XML document whose code says more than the status ("Error responses", Amazon S3 API
 * Reference). A reply to HEAD has only the status and, from Amazon, the bucket's region.
 */
import { type ErrorCode, SregistryError } from '../../base/errors.ts';
import type { FailedResponse } from '../http.ts';
import { parseFailure, textOf } from './xml.ts';

export class S3Error extends SregistryError {
  /** The service's error code, such as `NoSuchKey`; undefined if it sent none. */
  readonly said: string | undefined;
  /** The region of the bucket, according to the service. */
  readonly region: string | undefined;

  constructor(error: SregistryError, meaning: Meaning, said: Said) {
    const words = [said.message, said.code && `(${said.code})`].filter(Boolean).join(' ');
    super(meaning.code, words === '' ? error.message : `${error.message}: ${words}`, {
      hint: meaning.hint ?? error.hint,
      cause: error.cause,
      status: error.status,
      retryAfter: error.retryAfter,
    });
    this.said = said.code;
    this.region = said.region;
  }
}

/** A failure in a reply of status 200: S3 sends the status before it does the work. */
export class LateFailure extends S3Error {}

interface Meaning {
  readonly code: ErrorCode;
  readonly hint?: string | undefined;
}

interface Said {
  readonly code?: string | undefined;
  readonly message?: string | undefined;
  readonly region?: string | undefined;
}

const KEYS = 'check the access key and its secret: `sregistry auth login`';
const RENEW = 'get new temporary credentials, for instance with `aws sso login`';
const DAMAGED = 'it was damaged on the way, or the file changed while it was pushed; push it again';

/** Codes with another meaning than their status. */
const MEANINGS: Readonly<Record<string, Meaning>> = {
  AuthorizationHeaderMalformed: { code: 'UNAUTHORIZED', hint: 'check the region' },
  BadDigest: { code: 'CORRUPT', hint: DAMAGED },
  ExpiredToken: { code: 'UNAUTHORIZED', hint: RENEW },
  InvalidAccessKeyId: { code: 'UNAUTHORIZED', hint: KEYS },
  InvalidDigest: { code: 'CORRUPT', hint: DAMAGED },
  InvalidToken: { code: 'UNAUTHORIZED', hint: RENEW },
  NoSuchBucket: { code: 'SETTINGS' },
  QuotaExceeded: { code: 'NO_SPACE' },
  RequestTimeTooSkewed: { code: 'UNAUTHORIZED', hint: "set this machine's clock" },
  RequestTimeout: { code: 'TIMED_OUT' },
  SignatureDoesNotMatch: { code: 'UNAUTHORIZED', hint: KEYS },
  TokenRefreshRequired: { code: 'UNAUTHORIZED', hint: RENEW },
  XAmzContentSHA256Mismatch: { code: 'CORRUPT', hint: DAMAGED },
};

/** Converts an error made from a status to the one that the service means. */
export function interpretFailure(
  error: SregistryError,
  { method, headers, text }: FailedResponse,
): SregistryError {
  const said = { region: headers['x-amz-bucket-region'], ...readFailure(text) };
  const meaning = said.code === undefined ? undefined : MEANINGS[said.code];
  if (meaning !== undefined) return new S3Error(error, meaning, said);
  // A proxy or web server sent it: S3 sends a code for what is absent, except to HEAD.
  const isForeign = error.code === 'NOT_FOUND' && said.code === undefined && method !== 'HEAD';
  return new S3Error(error, isForeign ? { code: 'SERVICE', hint: 'check the address' } : error, said);
}

/** The failure that the body of a reply of status 200 reports, if any. */
export function lateFailure(text: string, what: string): LateFailure | undefined {
  const said = readFailure(text);
  if (said.code === undefined) return undefined;
  const status = said.code === 'InternalError' ? 500 : said.code === 'SlowDown' ? 503 : undefined;
  const error = new SregistryError('SERVICE', what, { status });
  return new LateFailure(error, MEANINGS[said.code] ?? error, said);
}

function readFailure(text: string): Said {
  const error = parseFailure(text);
  if (error === undefined) return {};
  const region = plain(textOf(error, 'Region'));
  return {
    code: plain(textOf(error, 'Code')),
    message: plain(textOf(error, 'Message')),
    ...(region && { region }),
  };
}

/** One line of at most 300 printable characters. */
function plain(text: string | undefined): string | undefined {
  return (
    text
      ?.replace(/[\p{Cc}\p{Cf}\s]+/gu, ' ')
      .trim()
      .slice(0, 300) || undefined
  );
}
