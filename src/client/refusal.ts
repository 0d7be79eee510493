import { isError, SregistryError } from '../base/errors.ts';

/** For a refused login, an error that says so; any other error unchanged. */
export function refusal(service: string, error: unknown, user?: string): unknown {
  if (!isError(error, 'UNAUTHORIZED', 'FORBIDDEN')) return error;
  const whose = user === undefined ? 'this login' : `the login of ${user}`;
  return new SregistryError(error.code, `${service} refused ${whose}; nothing was kept. ${error.message}`, {
    hint: 'check the user and the password or token, and that the token has not expired',
    cause: error,
    status: error.status,
  });
}
