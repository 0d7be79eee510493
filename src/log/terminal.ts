import { styleText } from 'node:util';
import { parseBoolean } from '../base/boolean.ts';

/** The output streams of a program, as in `process`. */
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
 * May `stream` get colours? `NO_COLOR` forbids them (no-color.org). Otherwise `SINGULARITY_COLORIZE` decides if it is set. Otherwise a
 * terminal with colours gets them.
 */
export function isColourful(stream: OutputStream, env: NodeJS.ProcessEnv): boolean {
  if (env.NO_COLOR) return false;
  const wanted = parseBoolean(env.SINGULARITY_COLORIZE ?? '');
  if (wanted !== undefined) return wanted;
  return stream.isTTY === true && stream.hasColors?.(env) !== false;
}

type Style = Parameters<typeof styleText>[0];

/** The Python client's names of colours, and the matching styles. */
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

/** `text` in the colour with this name (in any case); unchanged if the name is unknown. */
export function paint(colour: string, text: string): string {
  const style = STYLES[colour.toUpperCase()];
  return style === undefined ? text : styleText(style, text, { validateStream: false });
}

/**
 * `text` without control characters that could move the cursor, ring the bell or rename the window, as a service may have written the
 * text. Line feeds, tabs and colours stay.
 */
export function printable(text: string): string {
  return text.replace(/\r\n|\p{Cc}(\[[\d;]*m)?/gu, (found, colour: string | undefined) => {
    if (found === '\r\n') return '\n';
    const [control] = found;
    if (control === '\n' || control === '\t' || (control === '\u001b' && colour !== undefined)) return found;
    return `\uFFFD${colour ?? ''}`;
  });
}
