import { isError } from '../../base/errors.ts';

/** What is asked for, or undefined where the service says that there is none (NOT_FOUND); other errors as they are. */
export async function unlessAbsent<T>(asked: Promise<T>): Promise<T | undefined> {
  try {
    return await asked;
  } catch (error) {
    if (isError(error, 'NOT_FOUND')) return undefined;
    throw error;
  }
}
