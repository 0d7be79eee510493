import { styleText } from 'node:util';
import { parseBoolean } from '../base/boolean.ts';

/** The two streams a program prints to, as `process` has them. */
export interface Streams {
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
}

export interface OutputStream extends NodeJS.WritableStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  hasColors?(env: NodeJS.ProcessEnv): boolean;
}

/**
 * May colours be sent to `stream`? `NO_COLOR` forbids them (no-color.org), `SINGULARITY_COLORIZE` decides either
 * way, else a terminal that has colours gets them.
 */
export function isColourful(stream: OutputStream, env: NodeJS.ProcessEnv): boolean {
  if (env.NO_COLOR) return false;
  const wanted = parseBoolean(env.SINGULARITY_COLORIZE ?? '');
  if (wanted !== undefined) return wanted;
  return stream.isTTY === true && stream.hasColors?.(env) !== false;
}

type Style = Parameters<typeof styleText>[0];

/** The Python client's names of colours, and the styles that draw them as it did. */
const STYLES: Readonly<Record<string, Style>> = {
  RED: 'redBright',
  DARKRED: 'red',
  YELLOW: 'yellowBright',
  GREEN: 'green',
  CYAN: 'cyan',
  BLUE: 'blue',
  PURPLE: 'magentaBright',
  BOLD: 'bold',
};

/** `text` in the colour of that name (any case); as it is where the name is unknown. */
export function paint(colour: string, text: string): string {
  const style = STYLES[colour.toUpperCase()];
  return style === undefined ? text : styleText(style, text, { validateStream: false });
}

/**
 * `text` with every control character replaced that could move the cursor, ring or rename the window: much of what
 * is printed was written by a service. Line feeds, tabs and colours are let through.
 */
export function printable(text: string): string {
  return text.replace(/\r\n|\p{Cc}(\[[\d;]*m)?/gu, (found, colour: string | undefined) => {
    if (found === '\r\n') return '\n';
    const [control] = found;
    if (control === '\n' || control === '\t' || (control === '\u001b' && colour !== undefined)) return found;
    return `\uFFFD${colour ?? ''}`;
  });
}
