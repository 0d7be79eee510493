/**
 * Removing and replacing images that somebody has open.
 *
 * Before libfuse removes or replaces an open file, it renames the file to a hidden name. That call is the same for `rm` and for
 * a rename over the file. So the image leaves its name at once, and its readers keep their revision under the hidden name. The
 * registry is asked to remove the image only if no rename to the name follows shortly. A removal that is not allowed fails at
 * once, unless a closed file may be about to replace the image. Meanwhile lookups of the name wait, so that nobody finds the
 * name missing while the image is replaced.
 */
/** Milliseconds within which libfuse sends the rename that follows: it does so as soon as it has the answer. */
const GRACE = 100;

export interface Removal {
  readonly path: string;
  /** Removes the image from its registry. */
  readonly remove: () => Promise<void>;
  /** Throws if the removal is not allowed. */
  readonly check: () => void;
}

interface Pending {
  readonly removal: Removal;
  readonly settled: PromiseWithResolvers<void>;
  /** Fires when no rename has come; undefined when the registry is being asked. */
  timer: NodeJS.Timeout | undefined;
}

export class Removals {
  readonly #pending = new Map<string, Pending>();
  readonly #onFailure: (path: string, error: unknown) => void;

  /** `onFailure` is called when a removal fails after its caller has returned. */
  constructor(onFailure: (path: string, error: unknown) => void) {
    this.#onFailure = onFailure;
  }

  /** Is no image being removed? */
  get isEmpty(): boolean {
    return this.#pending.size === 0;
  }

  /** Is the image being removed, so that its name stands for nothing? */
  has(key: string): boolean {
    return this.#pending.has(key);
  }

  /** Frees the name of an image. `mayBeReplaced`: a rename over it may follow. Throws if the image must not be removed. */
  begin(key: string, removal: Removal, mayBeReplaced: boolean): void {
    if (!mayBeReplaced) removal.check();
    // The rename may wait behind what blocked the event loop, so give it one more turn.
    const timer = setTimeout(() => setImmediate(() => void this.#carryOut(key)), GRACE);
    this.#pending.set(key, { removal, timer, settled: Promise.withResolvers() });
  }

  /** Resolves when no removal of the name is pending. Lookups and uses of the name wait for it. */
  async settled(key: string): Promise<void> {
    await this.#pending.get(key)?.settled.promise;
  }

  /** Drops the pending removal, as something else takes the name. Waits for a removal under way. */
  async supersede(key: string): Promise<void> {
    const pending = this.#pending.get(key);
    if (pending?.timer !== undefined) this.#settle(key, pending);
    else await pending?.settled.promise;
  }

  /** Carries out the pending removals. */
  async finishAll(): Promise<void> {
    await Promise.all([...this.#pending.keys()].map((key) => this.#carryOut(key)));
  }

  async #carryOut(key: string): Promise<void> {
    const pending = this.#pending.get(key);
    if (pending?.timer === undefined) return pending?.settled.promise;
    clearTimeout(pending.timer);
    pending.timer = undefined;
    try {
      pending.removal.check();
      await pending.removal.remove();
    } catch (error) {
      this.#onFailure(pending.removal.path, error);
    } finally {
      this.#settle(key, pending);
    }
  }

  #settle(key: string, { timer, settled }: Pending): void {
    clearTimeout(timer);
    this.#pending.delete(key);
    settled.resolve();
  }
}
