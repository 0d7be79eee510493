/** `--json`, for commands that print data. */
import { bot } from '../log/index.ts';

export const JSON_OPTION = { json: { type: 'boolean', describe: 'Print JSON' } } as const;

/** Prints a result for programs. It has all keys; an unknown value is null. */
export function printJson(value: object): undefined {
  bot.json(JSON.parse(JSON.stringify(value, (_key, part) => (part === undefined ? null : part))));
}
