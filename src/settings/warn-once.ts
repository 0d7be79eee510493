import { bot } from '../log/index.ts';

const said = new Set<string>();

/** Prints a warning once per process. */
export function warnOnce(message: string): void {
  if (said.has(message)) return;
  said.add(message);
  bot.warning(message);
}
