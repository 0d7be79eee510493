/**
 * One timer in each process. Its beats show other processes that this one still runs, and retry writes that a busy database
 * refused. It runs only while a beat has something to do, and never keeps the process alive.
 */

/** Milliseconds between beats. */
const INTERVAL = 2_000;

/** Work that is tried again with the next beat when it throws. */
export type Deferred = () => void;

export class Heartbeat {
  readonly #beat: (deferred: () => void) => boolean;
  #deferred: Deferred[] = [];
  #timer: NodeJS.Timeout | undefined;

  /** `beat` calls its argument to do the deferred work, and tells whether it wants to be called again. */
  constructor(beat: (deferred: () => void) => boolean) {
    this.#beat = beat;
  }

  start(): void {
    this.#timer ??= setInterval(() => this.#run(), INTERVAL).unref();
  }

  /** Does `work` with the next beat. */
  defer(work: Deferred): void {
    this.#deferred.push(work);
    this.start();
  }

  /** Ends the timer. Tries deferred work once more, and drops what fails. */
  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    if (this.#deferred.length > 0) this.#beat(() => this.#work());
    this.#deferred = [];
  }

  #run(): void {
    const goOn = this.#beat(() => this.#work());
    if (!goOn && this.#deferred.length === 0) this.stop();
  }

  #work(): void {
    for (let work = this.#deferred[0]; work !== undefined; work = this.#deferred[0]) {
      work();
      this.#deferred.shift();
    }
  }
}
