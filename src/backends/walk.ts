/** Every image of a backend, for services that cannot search: its collections are listed from the top down. */
import { isError, SregistryError } from '../base/errors.ts';
import { debugLog } from '../log/index.ts';
import type { Backend, ListEntry } from './backend.ts';

const debug = debugLog('backends');

/** Collections after which a walk counts as endless. */
const MAX_COLLECTIONS = 10_000;

type ImageEntry = Extract<ListEntry, { kind: 'image' }>;

/** The images below `top`, in no order; a collection that cannot be listed is passed over, unless it is `top` itself. */
export async function* everyImage(
  { list }: Pick<Backend, 'list'>,
  top = '',
  signal?: AbortSignal,
): AsyncGenerator<ImageEntry> {
  const pending = [top];
  let listed = 0;
  for (let collection = pending.pop(); collection !== undefined; collection = pending.pop()) {
    if (++listed > MAX_COLLECTIONS)
      throw new SregistryError('SERVICE', `There are more than ${MAX_COLLECTIONS} collections to search`);
    try {
      for await (const entry of list(collection, signal)) {
        if (entry.kind === 'image') yield entry;
        else pending.push(collection === '' ? entry.name : `${collection}/${entry.name}`);
      }
    } catch (error) {
      if (collection === top || !isError(error, 'FORBIDDEN', 'NOT_FOUND', 'UNSUPPORTED')) throw error;
      debug('%s is passed over: %s', collection, error.message);
    }
  }
}
