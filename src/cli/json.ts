import { bot } from '../log/index.ts';

/** Prints a result for programs: every key is there, what is unknown is null. */
export function printJson(value: object): undefined {
  bot.json(JSON.parse(JSON.stringify(value, (_key, part) => (part === undefined ? null : part))));
}
