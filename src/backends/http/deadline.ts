/** A total time budget as an AbortSignal, combined with the caller's signal. */
import { SregistryError } from '../../base/errors.ts';

export interface Deadline {
  /** Aborts when the time is up (with the reason TIMED_OUT) or when the caller's signal aborts. */
  readonly signal: AbortSignal;
  /** Milliseconds left, never negative. */
  remaining(): number;
  /** Stops the clock. From then on, only the caller's signal aborts. */
  clear(): void;
}

/** Starts a budget of `ms` milliseconds, which may be Infinity. `what` names the work in the message: `GET https://...`. */
export function startDeadline(ms: number, what: string, parent?: AbortSignal): Deadline {
  const end = performance.now() + ms;
  const controller = new AbortController();
  const timer = Number.isFinite(ms) ? setTimeout(() => controller.abort(outOfTime(what, ms)), ms) : undefined;
  return {
    signal: parent ? AbortSignal.any([controller.signal, parent]) : controller.signal,
    remaining: () => Math.max(0, end - performance.now()),
    clear: () => clearTimeout(timer),
  };
}

export function outOfTime(what: string, ms: number, cause?: unknown): SregistryError {
  return new SregistryError(
    'TIMED_OUT',
    `${what}: no success within ${formatSeconds(ms)}, retries included`,
    {
      hint: 'try again later, or allow more seconds with SREGISTRY_TIMEOUT',
      cause,
    },
  );
}

export function formatSeconds(ms: number): string {
  return `${Math.round(ms / 100) / 10} s`;
}
