/**
 * Errors of the parser in our words: what is wrong with the command line, and what to write instead. yargs reports them as English text,
 * so this module reads that text; the parser's locale is fixed to English for it.
 */
import { SregistryError } from '../base/errors.ts';
import { nearest } from '../base/nearest.ts';

/** A command line that yargs refused. */
export interface Refused {
  /** The words of the command: `backend add`. Empty if no command was given. */
  readonly words: readonly string[];
  /** Its positionals as yargs writes them: `<name> [settings..]`. */
  readonly positionals: string;
  /** Its options and their aliases, without dashes. */
  readonly options: readonly string[];
  /** What was given. */
  readonly argv: readonly string[];
}

type Reader = (match: RegExpMatchArray, refused: Refused) => SregistryError;

/** The messages of yargs, from its `locales/en.json`, and what to say instead. */
const READERS: readonly (readonly [RegExp, Reader])[] = [
  [/^Unknown arguments?: (.*)$/s, ([, names = ''], refused) => unknown(names.split(', '), refused)],
  [/^Not enough non-option arguments: got (\d+)/, ([, given], refused) => missing(Number(given), refused)],
  [
    /^Not enough arguments following: (.*)$/,
    ([, name = ''], refused) =>
      error(`${dashed(name)} needs a value`, `Write for instance: ${dashed(name)} VALUE. ${help(refused)}`),
  ],
  [
    /^Arguments (\S+) and (\S+) are mutually exclusive$/,
    ([, one = '', other = ''], refused) =>
      error(`${dashed(one)} and ${dashed(other)} cannot be used together`, help(refused)),
  ],
  [
    /Argument: (\S+), Given: (.*), Choices: (.*)$/m,
    ([, name = '', given = '', choices = ''], refused) => {
      const isOption = refused.argv.some((word) => nameOf(word) === name);
      return error(
        `${isOption ? dashed(name) : name.toUpperCase()} cannot be ${given}`,
        `It is one of ${choices}`,
      );
    },
  ],
];

/** The error for a message of yargs. */
export function usageError(message: string, refused: Refused): SregistryError {
  for (const [pattern, read] of READERS) {
    const match = message.match(pattern);
    if (match !== null) return read(match, refused);
  }
  return error(message, help(refused));
}

/** Is the text one of those that {@link usageError} knows? */
export const isParserMessage = (text: string) => READERS.some(([pattern]) => pattern.test(text));

/** A word that yargs does not know: an option, or an argument too many. */
function unknown(names: readonly string[], refused: Refused): SregistryError {
  const option = refused.argv.find((word) => names.some((name) => isOption(word, name)));
  const command = commandOf(refused);
  if (option === undefined)
    return error(`${command} does not take ${JSON.stringify(names[0])}`, synopsis(refused));
  const written = option.replace(/=.*$/s, '');
  const meant = nearest(
    nameOf(option) ?? '',
    refused.options.filter((name) => name.length > 1),
  );
  return error(
    `${command} has no option ${written}`,
    meant === undefined ? help(refused) : `Did you mean --${meant}?`,
  );
}

function missing(given: number, refused: Refused): SregistryError {
  const lacking = (refused.positionals.match(/<[^>]+>/g) ?? []).slice(given);
  return error(`${commandOf(refused)} needs ${lacking.join(' ')}`, synopsis(refused));
}

/** Is the word the option `name`, by itself, with a value, or one letter of several? */
function isOption(word: string, name: string): boolean {
  if (/^-[^-]/.test(word)) return word.slice(1).includes(name) || nameOf(word) === name;
  return nameOf(word) === name;
}

/** `name` of `--name`, `-name` and `--name=value`; undefined for a word that is no option. */
function nameOf(word: string): string | undefined {
  return /^--?([^=]+)/.exec(word)?.[1];
}

const dashed = (name: string) => (name.length === 1 ? `-${name}` : `--${name}`);

const commandOf = ({ words }: Refused) => ['sregistry', ...words].join(' ');
const help = (refused: Refused) => `${commandOf(refused)} --help tells how to use it`;
const synopsis = (refused: Refused) =>
  `Use it as: ${[commandOf(refused), refused.positionals].filter(Boolean).join(' ')}. ${help(refused)}`;

function error(message: string, hint: string): SregistryError {
  return new SregistryError('USAGE', message, { hint });
}
