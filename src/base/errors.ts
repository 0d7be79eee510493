/**
 * The errors of sregistry. Every failure that can reach a person is a {@link SregistryError}: its message says what
 * failed, on what and why; `hint` says what to do next; other code (the retry policy, src/fs/errno.ts, exit codes)
 * decides by `code`, which is stable. A library function throws; only src/cli ends the process.
 */

/** Stable codes. What each means for a caller stands beside it. */
export type ErrorCode =
  | 'NOT_FOUND' // the service says that it does not exist
  | 'EXISTS' // refuses to overwrite
  | 'UNAUTHORIZED' // no or wrong credentials (HTTP 401)
  | 'FORBIDDEN' // credentials are fine, the act is not allowed (HTTP 403, --read-only, no --allow-delete)
  | 'READ_ONLY' // a write to something mounted or opened read-only
  | 'UNREACHABLE' // no connection: DNS, refused, reset, TLS
  | 'TIMED_OUT' // the deadline passed or the transfer stalled
  | 'RATE_LIMITED' // HTTP 429 after all retries
  | 'SERVICE' // the service failed (5xx) or answered what its protocol does not allow
  | 'STALE' // the bytes asked for belong to a revision that is no longer served
  | 'CORRUPT' // a checksum does not match
  | 'NOT_AN_IMAGE' // the bytes are not a container image
  | 'NOT_SIGNED' // no key of the ring vouches for the bytes as they are
  | 'NOT_PRESENTABLE' // the tag exists but holds something that cannot be shown as one image file
  | 'UNSUPPORTED' // this backend cannot do that
  | 'CROSS_BACKEND' // rename across what one service can do by itself
  | 'INVALID_NAME' // an image name that does not parse
  | 'NAME_TOO_LONG' // a part of a path of more bytes than a file name may have
  | 'SETTINGS' // a setting is missing, malformed or contradictory
  | 'USAGE' // a command line that makes no sense
  | 'NO_SPACE' // disk or quota is full
  | 'BUSY' // in use by someone else
  | 'IN_USE' // open for reading, so that it cannot be written in place
  | 'CANCELED' // an AbortSignal fired
  | 'DATABASE' // a catalog that is damaged, locked or of an unknown version
  | 'MISSING_DEPENDENCY' // something to install on this machine
  | 'INTERNAL'; // a defect of sregistry

export interface FailureOptions {
  /** What to do next, one sentence, no trailing full stop needed. */
  hint?: string | undefined;
  cause?: unknown;
  /** HTTP status, if the error came from a reply. */
  status?: number | undefined;
  /** Milliseconds after which a retry makes sense, from `Retry-After`. */
  retryAfter?: number | undefined;
}

export class SregistryError extends Error {
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly status: number | undefined;
  readonly retryAfter: number | undefined;

  constructor(code: ErrorCode, message: string, options: FailureOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'SregistryError';
    this.code = code;
    this.hint = options.hint;
    this.status = options.status;
    this.retryAfter = options.retryAfter;
  }
}

/** Is `error` a {@link SregistryError}, optionally of one of the given codes? */
export function isError(error: unknown, ...codes: ErrorCode[]): error is SregistryError {
  return error instanceof SregistryError && (codes.length === 0 || codes.includes(error.code));
}

/** The `code` of a Node system error (`ENOENT`, ...), or undefined. */
export function systemCode(error: unknown): string | undefined {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  return typeof code === 'string' ? code : undefined;
}

/** One line for a person: the message, then the messages of its causes that add something. */
export function describeError(error: unknown): string {
  const parts: string[] = [];
  for (let e: unknown = error; e !== undefined && e !== null && parts.length < 5; e = (e as Error).cause) {
    // A library may give the whole answer of a service as the cause.
    if (typeof e === 'object' && !(e instanceof Error) && parts.length > 0) break;
    const text = e instanceof Error ? e.message || systemCode(e) || e.name : String(e);
    if (!parts.some((part) => part.includes(text))) parts.push(text);
  }
  return parts.join(': ');
}
