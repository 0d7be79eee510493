import { isError, SregistryError } from '../base/errors.ts';

/** The error for a refused login, which says so; any other error as it is. */
export function refusal(service: string, error: unknown, user?: string): unknown {
  if (!isError(error, 'UNAUTHORIZED', 'FORBIDDEN')) return error;
  const whose = user === undefined ? 'this login' : `the login of ${user}`;
  return new SregistryError(error.code, `${service} refused ${whose}; nothing was kept. ${error.message}`, {
    hint: 'check the user and the password or token, and that the token has not expired',
    cause: error,
    status: error.status,
  });
}
