/**
 * Writes lines to stdout and stderr. Data (the result of a command) go to stdout, everything else to stderr. Registered secrets are
 * hidden, and a terminal gets no control characters except colours.
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

  /** Writes a message to stderr. */
  note(text: string): void {
    this.#write(this.#streams.stderr, redact(text));
  }

  /** Writes a line of the command's result. Signed links keep their signatures, as the person asked for them. */
  data(text: string): void {
    this.#write(this.#streams.stdout, redactRegistered(text));
  }

  /** Writes a line of the command's result without redaction. */
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
