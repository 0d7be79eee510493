/**
 * Completes images in continued use in the background, one at a time, so that a long-running container stops depending
 * on the network. Use counts as continued when reads have gone on for half a minute: `file *` or `find` over thousands
 * of images starts nothing.
 */
import { debugLog } from '../log/index.ts';
import type { CachedImage } from './image.ts';

/** Milliseconds from the first read to the last after which use counts as continued. */
const CONTINUED_USE = 30_000;
/** Milliseconds without a read after which it no longer does. */
const IDLE = 15_000;
const INTERVAL = 5_000;

const debug = debugLog('cache');

export class Completion {
  readonly #images: () => Iterable<CachedImage>;
  readonly #controller = new AbortController();
  readonly #failed = new WeakSet<CachedImage>();
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> = Promise.resolve();
  #busy = false;

  constructor(images: () => Iterable<CachedImage>) {
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

  #inContinuedUse(image: CachedImage): boolean {
    return (
      image.references > 0 &&
      !image.complete &&
      !this.#failed.has(image) &&
      image.lastRead - image.firstRead >= CONTINUED_USE &&
      Date.now() - image.lastRead < IDLE
    );
  }

  async #complete(image: CachedImage): Promise<void> {
    debug('completing %s in the background', image.uri);
    try {
      while (image.references > 0 && (await image.completeStep(this.#controller.signal)));
    } catch (error) {
      this.#failed.add(image);
      debug('not completed: %s: %o', image.uri, error);
    }
  }
}
