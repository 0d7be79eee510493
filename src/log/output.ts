/**
 * Where lines go. Data (what a command was asked for) goes to stdout; everything else to stderr. No line leaves with
 * a registered secret in it, and a terminal gets no control characters but colours.
 */
import { LiveRegion } from './live.ts';
import { redact, redactRegistered } from './redact.ts';
import { isColourful, type OutputStream, printable, type Streams } from './terminal.ts';

export class Output {
  readonly live: LiveRegion;
  readonly #streams: Streams;
  readonly #env: NodeJS.ProcessEnv;

  constructor(streams: Streams, env: NodeJS.ProcessEnv) {
    this.#streams = streams;
    this.#env = env;
    this.live = new LiveRegion(streams.stderr);
  }

  /** A line for the person who watches. */
  note(text: string): void {
    this.#write(this.#streams.stderr, redact(text));
  }

  /** A line of the command's result. Links keep their signatures: they are what was asked for. */
  data(text: string): void {
    this.#write(this.#streams.stdout, redactRegistered(text));
  }

  /** A line of the command's result with nothing hidden. */
  verbatim(text: string): void {
    this.#write(this.#streams.stdout, text);
  }

  get isWatched(): boolean {
    return this.#streams.stderr.isTTY === true;
  }

  get dataIsWatched(): boolean {
    return this.#streams.stdout.isTTY === true;
  }

  get notesAreColourful(): boolean {
    return isColourful(this.#streams.stderr, this.#env);
  }

  get dataIsColourful(): boolean {
    return isColourful(this.#streams.stdout, this.#env);
  }

  #write(stream: OutputStream, text: string): void {
    const line = text.endsWith('\n') ? text : `${text}\n`;
    if (!stream.isTTY) stream.write(line);
    else if (!this.live.print(printable(line))) stream.write(printable(line));
  }
}

/** The streams of this process. */
export const processOutput = new Output(process, process.env);
