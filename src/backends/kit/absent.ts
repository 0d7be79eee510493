import { isError } from '../../base/errors.ts';

/** The result of a request, or undefined if the service says that it does not exist (NOT_FOUND). Other errors are rethrown. */
export async function unlessAbsent<T>(asked: Promise<T>): Promise<T | undefined> {
  try {
    return await asked;
  } catch (error) {
    if (isError(error, 'NOT_FOUND')) return undefined;
    throw error;
  }
}
