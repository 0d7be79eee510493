/**
 * Completes images in continued use in the background, one at a time, so that a long-running container stops depending on the
 * network. Use counts as continued after half a minute of reads, so `file *` or `find` over thousands of images starts nothing.
 */
import { debugLog } from '../log/index.ts';

/** Milliseconds from the first read to the last after which use counts as continued. */
const CONTINUED_USE = 30_000;
/** Milliseconds without a read after which use no longer counts as continued. */
const IDLE = 15_000;
const INTERVAL = 5_000;

/** What the fill needs of an image. */
export interface Fillable {
  readonly uri: string;
  readonly references: number;
  readonly complete: boolean;
  /** Milliseconds since the epoch. */
  readonly firstRead: number;
  readonly lastRead: number;
  /** Fetches the next absent part; false if nothing is absent. */
  completeStep(signal: AbortSignal): Promise<boolean>;
}

const debug = debugLog('cache');

export class BackgroundFill {
  readonly #images: () => Iterable<Fillable>;
  readonly #controller = new AbortController();
  readonly #failed = new WeakSet<Fillable>();
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> = Promise.resolve();
  #busy = false;

  constructor(images: () => Iterable<Fillable>) {
    this.#images = images;
  }

  start(): void {
    this.#timer = setInterval(() => this.#tick(), INTERVAL).unref();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#controller.abort();
    await this.#running;
  }

  #tick(): void {
    if (this.#busy) return;
    const image = [...this.#images()].find((candidate) => this.#inContinuedUse(candidate));
    if (image === undefined) return;
    this.#busy = true;
    this.#running = this.#complete(image).finally(() => {
      this.#busy = false;
    });
  }

  #inContinuedUse(image: Fillable): boolean {
    return (
      image.references > 0 &&
      !image.complete &&
      !this.#failed.has(image) &&
      image.lastRead - image.firstRead >= CONTINUED_USE &&
      Date.now() - image.lastRead < IDLE
    );
  }

  async #complete(image: Fillable): Promise<void> {
    debug('completing %s in the background', image.uri);
    try {
      while (image.references > 0 && (await image.completeStep(this.#controller.signal)));
    } catch (error) {
      this.#failed.add(image);
      debug('not completed: %s: %o', image.uri, error);
    }
  }
}
