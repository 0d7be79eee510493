import { Output } from '../../src/log/index.ts';
import type { OutputStream } from '../../src/log/terminal.ts';

/** A stream that keeps what is written to it; `isTTY` makes it pass for a terminal of 80 columns. */
export function memoryStream(isTTY: boolean): OutputStream & { text(): string } {
  const chunks: string[] = [];
  const stream = {
    isTTY,
    columns: 80,
    write(chunk: string) {
      chunks.push(chunk);
      return true;
    },
    text: () => chunks.join(''),
  };
  return stream as unknown as OutputStream & { text(): string };
}

/** An Output on two memory streams. */
export function memoryOutput({
  terminal = false,
  env = {},
}: {
  terminal?: boolean;
  env?: NodeJS.ProcessEnv;
}) {
  const stdout = memoryStream(terminal);
  const stderr = memoryStream(terminal);
  return { stdout, stderr, output: new Output({ stdout, stderr }, env) };
}
