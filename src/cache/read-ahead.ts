/**
 * How far to fetch beyond what one reader asks for.
 *
 * Container runtimes read an image's header, its directory tables and then files here and there: each such read costs
 * one small request. A copy reads on and on: each time it has consumed half of what was fetched ahead, the window
 * doubles and the next one is requested, so the connection is busy while the reader works. The kernel's own read-ahead
 * sends neighbouring reads out of order; a read is still sequential when it starts a little before or after the place
 * where the last one ended. Any other read starts again with the small window.
 */

/** Fetched around a read that follows nothing: one FUSE read (128 KiB) and the next. */
const INITIAL_WINDOW = 256 * 1024;
/** How far to be ahead of a reader at most: a few seconds of a slow link. An abandoned copy has fetched as much in vain. */
const MAX_WINDOW = 32 * 1024 * 1024;
/** How far out of order the kernel's read-ahead may deliver reads (seen: 256 KiB back, 512 KiB forward). */
const REORDER = 512 * 1024;

export interface Plan {
  /** Fetch up to this byte (exclusive) when fetching at all. */
  readonly until: number;
  /** Start fetching now what lies between the read and `until`, even if the read itself needs nothing. */
  readonly ahead: boolean;
}

export class ReadAhead {
  readonly #size: number;
  readonly #maxWindow: number;
  #window = INITIAL_WINDOW;
  #next: number | undefined;
  #until = 0;

  /** `size`: bytes of the image; `maxWindow`: cap in bytes, for a small cache. */
  constructor(size: number, maxWindow = MAX_WINDOW) {
    this.#size = size;
    this.#maxWindow = Math.max(INITIAL_WINDOW, Math.min(MAX_WINDOW, maxWindow));
  }

  /** Call once for every read, before it. */
  plan(offset: number, length: number): Plan {
    const end = offset + length;
    const sequential = this.#next !== undefined && Math.abs(offset - this.#next) <= REORDER;
    this.#next = sequential ? Math.max(this.#next ?? 0, end) : end;
    if (!sequential) {
      this.#window = INITIAL_WINDOW;
      this.#until = Math.min(this.#size, Math.max(end, offset + this.#window));
      return { until: this.#until, ahead: false };
    }
    if (end <= this.#until - this.#window / 2) return { until: this.#until, ahead: false };
    this.#window = Math.min(this.#maxWindow, this.#window * 2);
    this.#until = Math.min(this.#size, Math.max(this.#until, end + this.#window));
    return { until: this.#until, ahead: end < this.#size };
  }
}
