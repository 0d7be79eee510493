import { abortError } from '../http/deadline.ts';

/**
 * One piece of work that several callers wait for. A caller that gives up does not end it for the others; when the last one
 * has given up, it is ended.
 */
export class Flight<T> {
  readonly #controller = new AbortController();
  readonly #result: Promise<T>;
  #waiting = 0;

  constructor(work: (signal: AbortSignal) => Promise<T>) {
    this.#result = work(this.#controller.signal);
    this.#result.catch(() => {});
  }

  /** All callers gave up: the result is of no use any more. */
  get isAbandoned(): boolean {
    return this.#controller.signal.aborted;
  }

  /** The result, or what `signal` says when it fires first: CANCELED, TIMED_OUT. */
  join(signal?: AbortSignal): Promise<T> {
    this.#waiting += 1;
    return new Promise((resolve, reject) => {
      const leave = () => {
        if (signal !== undefined) reject(abortError(signal, 'The request'));
        this.#waiting -= 1;
        if (this.#waiting === 0) this.#controller.abort();
      };
      if (signal?.aborted) return leave();
      signal?.addEventListener('abort', leave, { once: true });
      const settle = () => signal?.removeEventListener('abort', leave);
      this.#result.finally(settle).then(resolve, reject);
    });
  }
}
