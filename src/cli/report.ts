import { isError } from '../base/errors.ts';
import { bot } from '../log/index.ts';

/** Prints what failed, the hint, and at the level DEBUG the stack. */
export function reportError(error: unknown): void {
  bot.error(error);
  const hint = isError(error)
    ? error.hint
    : 'This is a bug in sregistry. Run the command again with --debug to see where';
  if (hint !== undefined) bot.hint(hint);
  if (error instanceof Error) bot.debug(error.stack);
}
