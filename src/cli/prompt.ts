/** Questions to a person. They are asked on stderr, as stdout is for data, and only on a terminal. */
import { read } from 'read';
import { SregistryError } from '../base/errors.ts';

/** Is there someone to ask? */
export function isInteractive(): boolean {
  return process.stdin.isTTY === true && process.stderr.isTTY === true;
}

/** The answer, which may be empty. CANCELED on Ctrl-C. */
export async function ask(question: string, options: { readonly secret?: boolean } = {}): Promise<string> {
  // Ctrl-D closes the terminal's input: the answer never comes, and the process ends as one that failed.
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
  }
}

export async function confirm(question: string): Promise<boolean> {
  return /^y(es)?$/i.test((await ask(`${question} [y/N]`)).trim());
}
