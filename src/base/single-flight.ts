/**
 * Shares one run of some work between all callers that ask for it at the same time.
 *
 * Each caller waits with a signal of its own. A caller whose signal fires stops waiting at once; the others continue. When the
 * last caller stops, the work is aborted, and the next caller starts it anew. Success and failure reach every caller that still
 * waits.
 */
import { abortError } from './abort.ts';
import type { SregistryError } from './errors.ts';

/** What the shared work is given. */
export interface SharedCall {
  /** Aborted, with the reason of the last caller that left, when nobody waits any more. */
  readonly signal: AbortSignal;
  /** May the outcome be kept? False once the call was forgotten or abandoned, as a newer outcome may be known by then. */
  isCurrent(): boolean;
}

/** Work under way, by key. */
export class SingleFlight<T> {
  readonly #calls = new Map<string, Call<T>>();

  /**
   * The outcome of the call under `key`. Starts the call with `work` if none is under way.
   *
   * @throws {SregistryError} CANCELED, TIMED_OUT or the signal's own reason when `signal` fires first.
   */
  join(key: string, work: (controls: SharedCall) => Promise<T>, signal?: AbortSignal): Promise<T> {
    if (signal?.aborted) return Promise.reject(abortError(signal, 'The request'));
    const call = this.#calls.get(key) ?? this.#start(key, work);
    return call.join(signal);
  }

  /** Makes the next caller start anew, under one key or all. Callers that wait now still get the outcome. */
  forget(key?: string): void {
    if (key === undefined) this.#calls.clear();
    else this.#calls.delete(key);
  }

  /** Aborts all work under way, whose callers get `reason`, and waits until it has ended. */
  async abort(reason: SregistryError): Promise<void> {
    const calls = [...this.#calls.values()];
    this.#calls.clear();
    await Promise.all(calls.map((call) => call.abort(reason)));
  }

  #start(key: string, work: (controls: SharedCall) => Promise<T>): Call<T> {
    const isCurrent = () => this.#calls.get(key) === call;
    const end = () => {
      if (isCurrent()) this.#calls.delete(key);
    };
    const call: Call<T> = new Call((signal) => work({ signal, isCurrent }).finally(end), end);
    this.#calls.set(key, call);
    return call;
  }
}

class Call<T> {
  readonly #controller = new AbortController();
  readonly #outcome: Promise<T>;
  readonly #abandoned: () => void;
  #waiting = 0;

  constructor(work: (signal: AbortSignal) => Promise<T>, abandoned: () => void) {
    this.#abandoned = abandoned;
    // Begins once the call is on record, so that work which ends at once finds it there.
    const { signal } = this.#controller;
    this.#outcome = Promise.resolve()
      .then(() => work(signal))
      .catch((error: unknown) => {
        throw signal.aborted ? abortError(signal, 'The request') : error;
      });
    this.#outcome.catch(() => {});
  }

  join(signal: AbortSignal | undefined): Promise<T> {
    this.#waiting += 1;
    if (signal === undefined) return this.#outcome;
    return new Promise((resolve, reject) => {
      const leave = () => {
        reject(abortError(signal, 'The request'));
        this.#waiting -= 1;
        if (this.#waiting === 0) this.#abandon(signal.reason);
      };
      signal.addEventListener('abort', leave, { once: true });
      this.#outcome.finally(() => signal.removeEventListener('abort', leave)).then(resolve, reject);
    });
  }

  /** Resolves when the work has ended, in success or not. */
  async abort(reason: SregistryError): Promise<void> {
    this.#controller.abort(reason);
    await Promise.allSettled([this.#outcome]);
  }

  #abandon(reason: unknown): void {
    this.#abandoned();
    this.#controller.abort(reason);
  }
}
