/**
 * Shuts down by a list of named steps. Each step runs even if an earlier one failed, so that one failure leaves nothing half
 * closed.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { describeError, SregistryError } from '../base/errors.ts';
import type { Log } from '../log/index.ts';

export interface Step {
  /** What it does, as in "could not <name>". */
  readonly name: string;
  /** Milliseconds after which the next step begins anyway. Default: no limit. */
  readonly limit?: number;
  run(): unknown;
}

/** Runs the steps one after the other and logs what fails. Never rejects; resolves to the names of the steps that failed. */
export async function runSteps(steps: readonly Step[], log: Log): Promise<string[]> {
  const failed: string[] = [];
  for (const { name, limit, run } of steps) {
    try {
      const running = Promise.resolve(run());
      if (limit === undefined) await running;
      else if (!(await isDoneWithin(running, limit)))
        throw new SregistryError('TIMED_OUT', `it took more than ${limit / 1000} seconds`);
    } catch (error) {
      failed.push(name);
      log(`could not ${name}: ${describeError(error)}`, 'error');
    }
  }
  return failed;
}

/**
 * Waits for the promise, but at most for `milliseconds` and until the signal fires. Returns whether the promise resolved;
 * throws its error.
 */
export async function isDoneWithin(
  promise: Promise<unknown>,
  milliseconds: number,
  signal?: AbortSignal,
): Promise<boolean> {
  const timer = new AbortController();
  const signals = signal === undefined ? [timer.signal] : [timer.signal, signal];
  const late = sleep(milliseconds, false, { signal: AbortSignal.any(signals) }).catch(() => false);
  try {
    return await Promise.race([promise.then(() => true), late]);
  } finally {
    timer.abort();
  }
}
