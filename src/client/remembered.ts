/**
 * The catalog remembers what services answered so that asking again costs nothing. It is never needed for a right answer:
 * where it is full, locked, read-only or damaged, what it should keep is dropped, and what it should know is unknown. Only
 * the journal of pushes is not forgiven.
 */
import { SregistryError } from '../base/errors.ts';
import { bot, debugLog } from '../log/index.ts';

const debug = debugLog('catalog');

let warned = false;

/** Reads or writes what is remembered. Undefined where the catalog fails, which a person is told once a process. */
export function remembered<T>(act: () => T): T | undefined {
  try {
    return act();
  } catch (cause) {
    debug('the catalog failed: %o', cause);
    if (!warned)
      bot.warning(
        new SregistryError('DATABASE', 'The catalog does not work: services are asked each time', { cause }),
      );
    warned = true;
    return undefined;
  }
}
