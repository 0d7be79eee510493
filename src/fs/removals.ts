/**
 * Removing and replacing images that somebody has open.
 *
 * Before it removes or replaces a file that is open, libfuse renames it to a hidden name: the same call, whether `rm` follows
 * or a rename over it. So the image leaves its name at once, its readers keep their revision under the hidden name, and the
 * registry is asked to remove it only when no rename to the name has come shortly after. Where it may not be removed, that is
 * said at once, unless a closed file is there that may be about to replace it.
 */
import { SregistryError } from '../base/errors.ts';

/** Milliseconds within which libfuse sends the rename that follows: it does so as soon as it has the answer. */
const GRACE = 250;

export interface Removal {
  readonly path: string;
  /** Removes the image from its registry. */
  readonly remove: () => Promise<void>;
  /** Is it allowed at all? Throws where not. */
  readonly check: () => void;
}

interface Pending {
  readonly timer: NodeJS.Timeout;
  readonly carryOut: () => Promise<void>;
}

export class Removals {
  readonly #pending = new Map<string, Pending>();
  readonly #running = new Map<string, Promise<void>>();
  readonly #onFailure: (path: string, error: unknown) => void;

  /** `onFailure` is told of a removal that failed after its caller had left. */
  constructor(onFailure: (path: string, error: unknown) => void) {
    this.#onFailure = onFailure;
  }

  /** Is the image on its way out, so that its name stands for nothing? */
  has(key: string): boolean {
    return this.#pending.has(key) || this.#running.has(key);
  }

  /** Takes an image from its name. `mayBeReplaced`: a rename over it may follow. Throws where it must not be removed. */
  begin(key: string, removal: Removal, mayBeReplaced: boolean): void {
    if (!mayBeReplaced) removal.check();
    const carryOut = async () => {
      removal.check();
      await removal.remove();
    };
    const report = (error: unknown) => this.#onFailure(removal.path, error);
    const timer = setTimeout(() => void this.#carryOut(key).catch(report), GRACE);
    this.#pending.set(key, { timer, carryOut });
  }

  /** Something else has taken the name: nothing is to be removed any more. */
  supersede(key: string): void {
    const pending = this.#pending.get(key);
    clearTimeout(pending?.timer);
    this.#pending.delete(key);
  }

  /** Resolves when the image is removed, for who is about to use its name. Throws where that failed. */
  async finish(key: string): Promise<void> {
    if (this.#pending.has(key)) await this.#carryOut(key);
    else await this.#running.get(key);
  }

  /** Carries out what is pending. */
  async finishAll(): Promise<void> {
    const all = [...this.#pending.keys(), ...this.#running.keys()];
    await Promise.all(all.map((key) => this.finish(key).catch((error) => this.#onFailure(key, error))));
  }

  #carryOut(key: string): Promise<void> {
    const pending = this.#pending.get(key);
    if (pending === undefined) throw new SregistryError('INTERNAL', `Nothing is to be removed at ${key}`);
    this.supersede(key);
    const running = pending.carryOut().finally(() => this.#running.delete(key));
    this.#running.set(key, running);
    return running;
  }
}
