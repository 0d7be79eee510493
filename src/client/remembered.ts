/**
 * The catalog remembers what services answered so that asking again costs nothing. A right answer never needs it: a catalog
 * that is full, locked, read-only or damaged only remembers nothing. Only a failure of the journal of pushes is an error.
 *
 * Waiting for another program's lock blocks the event loop. After one such wait the catalog is not asked for a while, so that a
 * lasting lock costs little time.
 */
import { SregistryError, systemCode } from '../base/errors.ts';
import type { State } from '../catalog/state.ts';
import { bot, debugLog } from '../log/index.ts';

const debug = debugLog('catalog');

/** Milliseconds for which a catalog that was locked is not asked again. */
const PAUSE = 10_000;

const pausedUntil = new WeakMap<State, number>();
let warned = false;

/** Reads or writes the catalog. Returns undefined if the catalog fails, and warns once a process. */
export function remembered<T>(state: State, act: (state: State) => T): T | undefined {
  if (performance.now() < (pausedUntil.get(state) ?? 0)) return undefined;
  try {
    return act(state);
  } catch (cause) {
    if (isLocked(cause)) pausedUntil.set(state, performance.now() + PAUSE);
    debug('the catalog failed: %o', cause);
    if (!warned)
      bot.warning(
        new SregistryError('DATABASE', 'The catalog does not work: services are asked each time', { cause }),
      );
    warned = true;
    return undefined;
  }
}

function isLocked(error: unknown): boolean {
  return /^SQLITE_(BUSY|LOCKED|PROTOCOL)/.test(systemCode((error as Error).cause) ?? '');
}
