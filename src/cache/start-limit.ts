/**
 * Tells programs that start containers from those that look at one image after another, as `file *` does: for those, nothing is
 * fetched ahead.
 */
import { LRUCache } from 'lru-cache';

/** Images that are opened within {@link PERIOD}, beyond which their opener is looking around. */
const MAX_STARTS = 8;
/** Milliseconds. */
const PERIOD = 10_000;

export class StartLimit {
  /** The images that were opened last, for as long as they count. */
  readonly #recent = new LRUCache<string, true>({ max: MAX_STARTS + 1, ttl: PERIOD });

  /** Notes that an image is opened that is not whole on local disk. May what it needs be fetched ahead? */
  take(image: string): boolean {
    this.#recent.set(image, true);
    this.#recent.purgeStale();
    return this.#recent.size <= MAX_STARTS;
  }
}
