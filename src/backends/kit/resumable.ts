import { isError } from '../../base/errors.ts';
import { attemptsWorth } from '../http.ts';

/** May a later push continue an upload after this failure? If not, the upload is to be forgotten, or no push would ever succeed. */
export function mayGoOn(error: unknown): boolean {
  return isError(error, 'CANCELED', 'UNAUTHORIZED', 'NO_SPACE') || attemptsWorth(error, true) > 1;
}

/**
 * What an earlier upload has come to, or undefined if the service does not say, so that a new one begins: what is saved of an upload may
 * outlive the upload, and the server that it was sent to.
 */
export async function unlessLost<T>(
  asked: Promise<T>,
  note: (error: unknown) => void,
): Promise<T | undefined> {
  try {
    return await asked;
  } catch (error) {
    if (isError(error, 'CANCELED')) throw error;
    note(error);
    return undefined;
  }
}
