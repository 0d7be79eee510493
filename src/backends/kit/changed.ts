import { SregistryError } from '../../base/errors.ts';

/** CORRUPT for a push after which the service has other bytes than the file. */
export function changedWhilePushed(message: string, cause?: unknown): SregistryError {
  return new SregistryError('CORRUPT', message, {
    hint: 'the file may have changed while it was pushed; push it again',
    cause,
  });
}
