/** Errors on their way between threads. What a thread's message copies of an error would lose its code and hint. */
import { type ErrorCode, SregistryError, systemCode } from './errors.ts';

/** An error as plain data. */
export interface PackedError {
  readonly message: string;
  /** Of a {@link SregistryError}, or Node's own. */
  readonly code: string | undefined;
  readonly isOwn: boolean;
  readonly hint: string | undefined;
  readonly stack: string | undefined;
  readonly cause: PackedError | undefined;
}

export function packError(error: unknown): PackedError {
  const isOwn = error instanceof SregistryError;
  const { message, stack, cause } = error instanceof Error ? error : new Error(String(error));
  return {
    message,
    code: isOwn ? error.code : systemCode(error),
    isOwn,
    hint: isOwn ? error.hint : undefined,
    stack,
    cause: cause instanceof Error ? packError(cause) : undefined,
  };
}

export function unpackError({ message, code, isOwn, hint, stack, cause }: PackedError): Error {
  const options = cause === undefined ? {} : { cause: unpackError(cause) };
  const error = isOwn
    ? new SregistryError(code as ErrorCode, message, { hint, ...options })
    : Object.assign(new Error(message, options), code !== undefined && { code });
  if (stack !== undefined) error.stack = stack;
  return error;
}
