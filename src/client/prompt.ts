/** Questions to a person. They are asked on stderr, as stdout is for data, and only on a terminal. */
import { read } from 'read';
import { SregistryError } from '../base/errors.ts';

/** Is there someone to ask? */
export function isInteractive(): boolean {
  return process.stdin.isTTY === true && process.stderr.isTTY === true;
}

/** Asks a question. The answer may be empty. Throws CANCELED on Ctrl-C. */
export async function ask(question: string, options: { readonly secret?: boolean } = {}): Promise<string> {
  using _keys = takeKeys();
  const code = process.exitCode;
  // Ctrl-D closes the terminal's input. No answer comes then, and the process ends with a failure.
  process.exitCode = 1;
  try {
    return await read({
      prompt: question,
      silent: options.secret ?? false,
      input: process.stdin,
      output: process.stderr,
    });
  } catch (cause) {
    throw new SregistryError('CANCELED', 'Nothing was entered', { cause });
  } finally {
    process.exitCode = code;
  }
}

/** Asks a yes-no question. Anything but yes means no. */
export async function confirm(question: string): Promise<boolean> {
  return /^y(es)?$/i.test((await ask(`${question} [y/N]`)).trim());
}

/** Stops other readers of keys, such as the shell that runs the asking code, until this is disposed of. */
function takeKeys(): Disposable {
  const { stdin } = process;
  const others = stdin.listeners('keypress') as ((...args: unknown[]) => void)[];
  stdin.removeAllListeners('keypress');
  return {
    [Symbol.dispose]() {
      if (others.length === 0) return;
      for (const listener of others) stdin.on('keypress', listener);
      stdin.setRawMode(true);
      stdin.resume();
    },
  };
}
