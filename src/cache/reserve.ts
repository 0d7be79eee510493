/**
 * Keeps the reserve of the disk free while a cache is in use. Other programs, and files being written, use the reserve up. A look
 * every few seconds evicts images until it is there again.
 */
import { debugLog } from '../log/index.ts';

/** Milliseconds between two looks at the free space of the disk. */
const INTERVAL = 5_000;

const debug = debugLog('cache');

export class Reserve {
  readonly #keep: () => Promise<void>;
  #timer: NodeJS.Timeout | undefined;
  /** The look that is under way. */
  #running: Promise<void> | undefined;

  /** `keep` evicts as much as the reserve lacks. */
  constructor(keep: () => Promise<void>) {
    this.#keep = keep;
  }

  start(): void {
    this.#timer = setInterval(() => this.#look(), INTERVAL).unref();
  }

  /** Resolves when no look is under way any more. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#running;
  }

  #look(): void {
    this.#running ??= this.#keep()
      .catch((error: unknown) => debug('the reserve of the disk could not be kept: %o', error))
      .finally(() => {
        this.#running = undefined;
      });
  }
}
