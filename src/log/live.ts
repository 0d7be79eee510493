/**
 * The live lines at the bottom of a terminal: progress bars and the spinner. One cli-progress MultiBar draws all of them, and prints
 * ordinary lines above them, so that they never overwrite each other. It exists while there is at least one live line.
 */
import { MultiBar, type Options, type SingleBar } from 'cli-progress';
import { formatBytes, paceFrom } from './pace.ts';
import { type OutputStream, printable } from './terminal.ts';

export interface Progress extends Disposable {
  /** Sets how much of the total is done. */
  update(done: number): void;
  /** Adds to how much is done. */
  increment(amount: number): void;
  /** Removes the bar. Always call it: a bar keeps the process alive. */
  stop(): void;
}

export interface ProgressOptions {
  readonly label: string;
  /** Total in bytes (or items, see `unit`); 0 if unknown. */
  readonly total: number;
  /** Default `bytes`. */
  readonly unit?: 'bytes' | 'items';
}

/** Progress that shows nothing, for quiet runs and pipes. */
export const NO_PROGRESS: Progress = { update() {}, increment() {}, stop() {}, [Symbol.dispose]() {} };

const BAR: Options = {
  format: '{label} [{bar}] {percentage}% {value}/{total}{rate} ETA {eta_formatted}',
  barsize: 24,
};
const BYTES: Options = {
  formatValue: (value, _, type) =>
    type === 'value' || type === 'total' ? formatBytes(value) : String(value),
};
const SPINNER: Options = {
  format: (_, __, payload: { label: string }) => `${frame(Date.now())} ${payload.label}`,
};

const FRAMES = ['-', '\\', '|', '/'];
const FRAME_MS = 100;
const frame = (now: number) => FRAMES[Math.floor(now / FRAME_MS) % FRAMES.length];

/** With a space in front, as it stands in the format. Items have none: they are few. */
const rateOf = (pace: number, { formatValue }: Options) =>
  formatValue === undefined ? '' : ` ${formatBytes(Math.round(pace))}/s`;

export class LiveRegion {
  #bars: MultiBar | undefined;
  #count = 0;
  readonly #stream: OutputStream;

  constructor(stream: OutputStream) {
    this.#stream = stream;
  }

  /** Prints `text` above the live lines. Returns false if there are none; the caller then prints the text. */
  print(text: string): boolean {
    if (this.#bars === undefined) return false;
    // Clear the rest of each line, where a longer live line may have been.
    this.#bars.log(text.replaceAll('\n', '\u001b[K\n'));
    this.#bars.update();
    return true;
  }

  addBar({ label, total, unit = 'bytes' }: ProgressOptions): Progress {
    return this.#add(total, label, unit === 'bytes' ? { ...BAR, ...BYTES } : BAR);
  }

  addSpinner(label: string): Progress {
    return this.#add(1, label, SPINNER);
  }

  #add(total: number, label: string, options: Options): Progress {
    this.#bars ??= new MultiBar({
      stream: this.#stream,
      clearOnComplete: true,
      // MultiBar does not notice lines printed above the bars (see print).
      forceRedraw: true,
      emptyOnZero: true,
      linewrap: true,
      // The command line handles signals and stops its bars.
      gracefulExit: false,
    });
    const bar = this.#bars.create(total, 0, { label: printable(label), rate: '' }, options);
    const paceAt = paceFrom();
    let done = 0;
    const update = (now: number) => {
      done = now;
      const pace = paceAt(done);
      bar.update(done, pace === undefined ? {} : { rate: rateOf(pace, options) });
    };
    this.#count++;
    let stopped = false;
    const stop = () => {
      if (stopped) return;
      stopped = true;
      this.#remove(bar);
    };
    return {
      update,
      increment: (amount) => update(done + amount),
      stop,
      [Symbol.dispose]: stop,
    };
  }

  #remove(bar: SingleBar): void {
    this.#bars?.remove(bar);
    this.#count--;
    if (this.#count > 0) return;
    this.#bars?.stop();
    this.#bars = undefined;
  }
}
