/**
 * Counts work under way, so that a close can refuse new work and wait for the rest. Without it, a write under way
 * when its descriptor is closed would go to whatever file gets that number next.
 */
import { SregistryError } from '../base/errors.ts';

export class InFlight {
  readonly #what: string;
  #count = 0;
  #ended: PromiseWithResolvers<void> | undefined;

  /** `what` names the owner of the work in the error that refuses further work. */
  constructor(what: string) {
    this.#what = what;
  }

  /** Is further work refused? */
  get isClosed(): boolean {
    return this.#ended !== undefined;
  }

  /** Runs `work`. Throws CANCELED once {@link close} was called. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    this.enter();
    try {
      return await work();
    } finally {
      this.leave();
    }
  }

  /** Begins work that {@link leave} ends, where a promise would cost more than the work. Throws CANCELED as {@link run}. */
  enter(): void {
    this.check();
    this.#count += 1;
  }

  leave(): void {
    this.#count -= 1;
    if (this.#count === 0) this.#ended?.resolve();
  }

  /** Throws CANCELED once {@link close} was called. */
  check(): void {
    if (this.#ended !== undefined) throw new SregistryError('CANCELED', `${this.#what} was closed`);
  }

  /** Refuses further work. Resolves when the work under way has ended. */
  close(): Promise<void> {
    if (this.#ended === undefined) {
      this.#ended = Promise.withResolvers();
      if (this.#count === 0) this.#ended.resolve();
    }
    return this.#ended.promise;
  }
}
