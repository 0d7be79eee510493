/** Search for services that have none: lists every collection of a backend from the top down. */
import { isError, SregistryError } from '../base/errors.ts';
import { debugLog } from '../log/index.ts';
import type { Backend, ListEntry, RemoteImage, SearchQuery } from './backend.ts';
import { imagesOf } from './kit/search.ts';
import { nameMatcher } from './name-match.ts';

const debug = debugLog('backends');

/** Collections after which the walk gives up: the service would never end. */
const MAX_COLLECTIONS = 10_000;

type ImageEntry = Extract<ListEntry, { kind: 'image' }>;

/** The images whose name and labels match. Resolves an image only if its name matches. */
export async function* searchEveryImage(
  backend: Pick<Backend, 'list' | 'resolve'>,
  { query, labels }: SearchQuery,
  signal?: AbortSignal,
): AsyncGenerator<RemoteImage> {
  const matches = nameMatcher(query);
  const matching = (async function* () {
    for await (const entry of everyImage(backend, signal)) if (matches(entry.name)) yield entry;
  })();
  const resolve = async ({ name, remote }: ImageEntry) => remote ?? (await backend.resolve(name, signal));
  yield* imagesOf(matching, labels, resolve);
}

/** All images, in no order. Skips a collection that cannot be listed, unless it is the top. */
async function* everyImage(
  { list }: Pick<Backend, 'list'>,
  signal?: AbortSignal,
): AsyncGenerator<ImageEntry> {
  const pending = [''];
  let listed = 0;
  for (let collection = pending.pop(); collection !== undefined; collection = pending.pop()) {
    if (++listed > MAX_COLLECTIONS)
      throw new SregistryError('SERVICE', `The search gave up after ${MAX_COLLECTIONS} collections`);
    try {
      for await (const entry of list(collection, signal)) {
        if (entry.kind === 'image') yield entry;
        else pending.push(collection === '' ? entry.name : `${collection}/${entry.name}`);
      }
    } catch (error) {
      if (collection === '' || !isError(error, 'FORBIDDEN', 'NOT_FOUND', 'UNSUPPORTED')) throw error;
      debug('skipped %s: %s', collection, error.message);
    }
  }
}
