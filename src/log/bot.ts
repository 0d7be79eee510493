/** The bot, as in the Python client: prints messages for people by level, and data for programs. */
import { inspect } from 'node:util';
import { describeError, SregistryError } from '../base/errors.ts';
import { hideDebugLogs, showDebugLogs } from './debug.ts';
import { LEVELS, type LevelName, parseLevel } from './levels.ts';
import { NO_PROGRESS, type Progress, type ProgressOptions } from './live.ts';
import type { Output } from './output.ts';
import { lineProgress } from './progress-lines.ts';
import { alignedTable, type Cell, type TableOptions, tabbedTable } from './table.ts';
import { paint } from './terminal.ts';

/** Prints to stderr: text as it is, an error as its message and causes, any other value as `inspect` shows it. */
export type Say = (message: unknown) => void;

/** All message methods only print: none of them, not even `abort`, ends the process. */
export interface Bot {
  /** The current level; see LEVELS. */
  readonly level: number;
  /** Does the bot print errors, warnings and `log` only? */
  readonly isQuiet: boolean;
  /**
   * Sets the level by name (in any case) or number. DEBUG also shows all of `debugLog`. Throws SETTINGS for an unknown level.
   */
  setLevel(level: LevelName | string | number): void;

  readonly abort: Say;
  readonly critical: Say;
  readonly error: Say;
  /** What to do about an error; printed wherever the error is. */
  readonly hint: Say;
  readonly warning: Say;
  /** Printed even if quiet. */
  readonly log: Say;
  readonly info: Say;
  readonly verbose: Say;
  readonly verbose1: Say;
  readonly verbose2: Say;
  readonly verbose3: Say;
  readonly debug: Say;
  /**
   * Prints a message of level INFO with your own prefix, in one of these colours: PURPLE YELLOW RED DARKRED CYAN GREEN BLUE.
   */
  custom(message: { prefix: string; message: unknown; color?: string | undefined }): void;

  /** Prints a line of the command's result to stdout, at any level. Hides registered secrets, but keeps signed links whole. */
  data(text: string): void;
  /** Prints the command's result as JSON to stdout. */
  json(value: unknown): void;
  /** Prints a line to stdout without redaction, for a secret link that the person asked for. */
  disclose(text: string): void;
  /** Prints rows to stdout: aligned on a terminal, separated by tabs in a pipe. */
  table(rows: readonly (readonly Cell[])[], options?: TableOptions): void;

  /** A spinner, shown on a terminal only. There is one at a time; `start` again changes its text. */
  readonly spinner: { start(text?: string): void; stop(): void };
  /**
   * A progress bar on stderr if that is a terminal; else a line every 30 s of what takes more than a minute. Nothing if the bot is quiet.
   * Several may run at the same time.
   */
  progress(options: ProgressOptions): Progress;
}

export function createBot(output: Output, env: NodeJS.ProcessEnv): Bot {
  // Ignore an unknown level: MESSAGELEVEL is shared with Singularity, which may know other levels.
  let level: number = parseLevel(env.MESSAGELEVEL ?? '') ?? LEVELS.INFO;
  if (level >= LEVELS.DEBUG) showDebugLogs();

  const isSilent = () => level < LEVELS.INFO || !output.isWatched;

  const say = (name: LevelName, message: unknown, prefix = '', color = '') => {
    if (LEVELS[name] > level) return;
    const word = output.notesAreColourful ? paint(color, prefix) : prefix;
    output.note(prefix === '' ? textOf(message) : `${word} ${textOf(message)}`);
  };
  const under = (name: LevelName, color = ''): Say => {
    const prefix = name.replace(/1$/, '');
    return (message) => say(name, message, prefix, color);
  };

  return {
    get level() {
      return level;
    },
    get isQuiet() {
      return level <= LEVELS.QUIET;
    },
    setLevel(wanted) {
      const before = level;
      level = parseLevel(wanted) ?? refuseLevel(wanted);
      if (level >= LEVELS.DEBUG) showDebugLogs();
      else if (before >= LEVELS.DEBUG) hideDebugLogs();
    },

    abort: under('ABORT', 'DARKRED'),
    critical: under('CRITICAL', 'RED'),
    error: under('ERROR', 'RED'),
    hint: (message) => say('ERROR', message, 'Hint:', 'CYAN'),
    warning: under('WARNING', 'YELLOW'),
    log: under('LOG', 'PURPLE'),
    info: (message) => say('INFO', message),
    verbose: under('VERBOSE'),
    verbose1: under('VERBOSE1'),
    verbose2: under('VERBOSE2'),
    verbose3: under('VERBOSE3'),
    debug: under('DEBUG', 'CYAN'),
    custom: ({ prefix, message, color = 'PURPLE' }) => say('CUSTOM', message, prefix, color),

    data: (text) => output.data(text),
    json: (value) => output.data(JSON.stringify(value, null, 2)),
    disclose: (text) => output.verbatim(text),
    table(rows, options) {
      if (rows.length === 0) return;
      output.data(output.dataIsWatched ? drawTable(rows, options, output) : tabbedTable(rows, options));
    },

    spinner: createSpinner(output, isSilent),
    progress(options) {
      if (level < LEVELS.INFO) return NO_PROGRESS;
      return output.isWatched
        ? output.live.addBar(options)
        : lineProgress(options, (line) => say('INFO', line));
    },
  };
}

function createSpinner(output: Output, isSilent: () => boolean): Bot['spinner'] {
  let running: Progress | undefined;
  const stop = () => {
    running?.stop();
    running = undefined;
  };
  return {
    start(text = '') {
      stop();
      if (!isSilent()) running = output.live.addSpinner(text);
    },
    stop,
  };
}

function drawTable(
  rows: readonly (readonly Cell[])[],
  options: TableOptions | undefined,
  output: Output,
): string {
  const table = alignedTable(rows, options);
  if (options?.header === undefined || !output.dataIsColourful) return table;
  const [header = '', ...lines] = table.split('\n');
  return [paint('BOLD', header), ...lines].join('\n');
}

function textOf(message: unknown): string {
  if (typeof message === 'string') return message;
  return message instanceof Error ? describeError(message) : inspect(message);
}

function refuseLevel(level: string | number): never {
  throw new SregistryError('SETTINGS', `"${level}" is not a message level.`, {
    hint: `Use a number from -5 to 5 or one of ${Object.keys(LEVELS).join(', ')}`,
  });
}
