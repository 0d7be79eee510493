/**
 * The lines at the bottom of a terminal that change while work goes on: progress bars and the spinner. All of them
 * belong to one cli-progress MultiBar, which exists while there is at least one, so that bars, spinner and ordinary
 * lines (printed above them) never write into each other.
 */
import bytes from 'bytes';
import { MultiBar, type Options, type SingleBar } from 'cli-progress';
import { type OutputStream, printable } from './terminal.ts';

export interface Progress extends Disposable {
  /** How much is done by now, of the total. */
  update(done: number): void;
  /** That much more is done. */
  increment(amount: number): void;
  /** Takes the bar away. To be called in any case: a bar keeps the process alive. */
  stop(): void;
}

export interface ProgressOptions {
  readonly label: string;
  /** Bytes (or things, see `unit`) there are to do; 0 where nobody knows. */
  readonly total: number;
  /** What is counted; `bytes` unless told. */
  readonly unit?: 'bytes' | 'items';
}

/** Progress for those who do not watch. */
export const NO_PROGRESS: Progress = { update() {}, increment() {}, stop() {}, [Symbol.dispose]() {} };

const BAR: Options = {
  format: '{label} [{bar}] {percentage}% {value}/{total} ETA {eta_formatted}',
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

const formatBytes = (count: number) => bytes.format(count, { decimalPlaces: 1, fixedDecimals: true }) ?? '';

export class LiveRegion {
  #bars: MultiBar | undefined;
  #count = 0;
  readonly #stream: OutputStream;

  constructor(stream: OutputStream) {
    this.#stream = stream;
  }

  /** Prints `text` above the live lines; false when there are none and the caller prints by itself. */
  print(text: string): boolean {
    if (this.#bars === undefined) return false;
    // Each line clears what a longer live line left on its right.
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
      // Lines that change under the bars (see print) are not noticed otherwise.
      forceRedraw: true,
      emptyOnZero: true,
      linewrap: true,
      // Signals belong to the command line, which stops its bars.
      gracefulExit: false,
    });
    const bar = this.#bars.create(total, 0, { label: printable(label) }, options);
    this.#count++;
    let stopped = false;
    const stop = () => {
      if (stopped) return;
      stopped = true;
      this.#remove(bar);
    };
    return {
      update: (done) => bar.update(done),
      increment: (amount) => bar.increment(amount),
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
