/** What belongs to no single command. `--help` and the man pages say it. */
import type { Options } from 'yargs';

export const INTRODUCTION = 'Container images of every registry, as files and by commands.';

export const HELP_COMMAND = { command: 'help [command..]', describe: 'Show the help of a command' } as const;

export const EXIT = { done: 0, failed: 1, usage: 2, interrupted: 130, terminated: 143 } as const;

/** What the exit code of a command means. */
export const EXIT_MEANINGS = [
  [EXIT.done, 'The command is done'],
  [EXIT.failed, 'It failed; the error says why'],
  [EXIT.usage, 'The command line is wrong'],
  [EXIT.interrupted, 'It was interrupted'],
  [EXIT.terminated, 'It was told to end, by SIGTERM'],
] as const;

/** The options of every command, without those that `letters` (of the command's own options) takes from them. */
export function globalOptions(letters: readonly string[]) {
  return {
    quiet: { type: 'boolean', alias: 'q', describe: 'Print only warnings and errors' },
    verbose: {
      type: 'boolean',
      ...(letters.includes('v') ? {} : { alias: 'v' }),
      describe: 'Also tell which requests failed and are sent again',
    },
    debug: { type: 'boolean', describe: 'Print everything' },
    version: { type: 'boolean', describe: 'Show version number' },
    help: { type: 'boolean', alias: 'h', describe: 'Show help' },
  } as const satisfies Record<string, Options>;
}
