import { bot } from '../log/index.ts';

const said = new Set<string>();

/** A warning that is given once in the life of the process. */
export function warnOnce(message: string): void {
  if (said.has(message)) return;
  said.add(message);
  bot.warning(message);
}
