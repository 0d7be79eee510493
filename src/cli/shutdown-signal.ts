/**
 * Ends a command before it is done: on a signal, or when nobody reads its output any more. The first signal asks the command
 * to end, so that it can clean up; a second one ends it at once.
 */
import { setMaxListeners } from 'node:events';
import { SregistryError, systemCode } from '../base/errors.ts';
import { bot } from '../log/index.ts';
import { EXIT } from './top-level.ts';

export interface ShutdownSignal extends Disposable {
  readonly signal: AbortSignal;
  /** The exit code for the request to end; undefined if there was none. */
  readonly code: number | undefined;
}

/** The exit code of a command that a signal ended, as shells report it: 128 plus the signal's number. */
const SIGNALS = { SIGINT: EXIT.interrupted, SIGTERM: EXIT.terminated } as const;

export function watchForShutdown(): ShutdownSignal {
  const controller = new AbortController();
  // Each request and copy under way adds a listener.
  setMaxListeners(0, controller.signal);
  let code: number | undefined;
  const end = (wanted: number) => {
    code ??= wanted;
    controller.abort(new SregistryError('CANCELED', 'Interrupted'));
  };
  const stop = (signal: NodeJS.Signals) => end(SIGNALS[signal as keyof typeof SIGNALS]);
  const closed = (error: Error) => {
    const isUnread = systemCode(error) === 'EPIPE';
    if (!isUnread) bot.error(error);
    end(isUnread ? 0 : 1);
  };
  const signals = Object.keys(SIGNALS) as NodeJS.Signals[];
  for (const signal of signals) process.once(signal, stop);
  process.stdout.on('error', closed);
  return {
    signal: controller.signal,
    get code() {
      return code;
    },
    [Symbol.dispose]() {
      for (const signal of signals) process.off(signal, stop);
      process.stdout.off('error', closed);
      // The output is still being written, and its reader may close the pipe meanwhile.
      if (!process.stdout.listeners('error').includes(ignore)) process.stdout.on('error', ignore);
    },
  };
}

function ignore(): void {}
