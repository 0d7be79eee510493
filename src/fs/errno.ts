/** Maps errors to errno. No other place decides an errno. */
import { constants } from 'node:os';
import { type ErrorCode, isError, systemCode } from '../base/errors.ts';

const { errno } = constants;

/** `EMEDIUMTYPE` (wrong medium type) is Linux's own and not in Node's table (asm-generic/errno.h). */
const EMEDIUMTYPE = 124;

const ERRNO: Record<ErrorCode, number> = {
  NOT_FOUND: errno.ENOENT,
  EXISTS: errno.EEXIST,
  UNAUTHORIZED: errno.EACCES,
  FORBIDDEN: errno.EPERM,
  READ_ONLY: errno.EROFS,
  UNREACHABLE: errno.EHOSTUNREACH,
  TIMED_OUT: errno.ETIMEDOUT,
  RATE_LIMITED: errno.EAGAIN,
  SERVICE: errno.EIO,
  STALE: errno.ESTALE,
  CORRUPT: errno.EIO,
  NOT_AN_IMAGE: errno.EINVAL,
  NOT_SIGNED: errno.EACCES,
  NOT_PRESENTABLE: EMEDIUMTYPE,
  UNSUPPORTED: errno.EOPNOTSUPP,
  CROSS_BACKEND: errno.EXDEV,
  INVALID_NAME: errno.EINVAL,
  NAME_TOO_LONG: errno.ENAMETOOLONG,
  SETTINGS: errno.EIO,
  USAGE: errno.EINVAL,
  NO_SPACE: errno.ENOSPC,
  BUSY: errno.EBUSY,
  IN_USE: errno.ETXTBSY,
  // EINTR would make the caller try again forever.
  CANCELED: errno.EIO,
  DATABASE: errno.EIO,
  MISSING_DEPENDENCY: errno.EIO,
  INTERNAL: errno.EIO,
};

/** The positive errno for an error; EIO for an unknown one. */
export function errnoOf(error: unknown): number {
  if (isError(error)) return ERRNO[error.code];
  if (error instanceof DOMException && error.name === 'TimeoutError') return errno.ETIMEDOUT;
  if (error instanceof DOMException && error.name === 'AbortError') return errno.EIO;
  const system = systemCode(error);
  return (system && (errno as Record<string, number>)[system]) || errno.EIO;
}
