/**
 * One fetch under way: blocks `first..last` of an image, how far it has come (blocks before `next` have arrived), and who
 * waits.
 */

interface Waiter {
  readonly block: number;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export class Fetch {
  readonly first: number;
  readonly last: number;
  /** Does it continue when nobody waits any more? */
  readonly goesOn: boolean;
  next: number;
  readonly controller = new AbortController();
  #waiters: Waiter[] = [];

  constructor(first: number, last: number, goesOn = false) {
    this.goesOn = goesOn;
    this.first = first;
    this.last = last;
    this.next = first;
  }

  /** Resolves when this block has arrived. When the last waiter is canceled, the fetch ends, unless {@link goesOn}. */
  wait(block: number, signal: AbortSignal | undefined): Promise<void> {
    // Another process may have stored it before this fetch asked for anything.
    if (block < this.next) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const settle = () => signal?.removeEventListener('abort', cancel);
      const waiter: Waiter = {
        block,
        resolve: () => {
          settle();
          resolve();
        },
        reject: (error) => {
          settle();
          reject(error);
        },
      };
      const cancel = () => {
        this.#waiters = this.#waiters.filter((other) => other !== waiter);
        if (this.#waiters.length === 0 && !this.goesOn) this.controller.abort(signal?.reason);
        reject(signal?.reason);
      };
      signal?.addEventListener('abort', cancel, { once: true });
      this.#waiters.push(waiter);
      if (signal?.aborted) cancel();
    });
  }

  advance(next: number): void {
    this.next = next;
    const ready = this.#waiters.filter((waiter) => waiter.block < next);
    if (ready.length === 0) return;
    this.#waiters = this.#waiters.filter((waiter) => waiter.block >= next);
    for (const waiter of ready) waiter.resolve();
  }

  fail(error: unknown): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) waiter.reject(error);
  }
}
