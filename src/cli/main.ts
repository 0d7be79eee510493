/**
 * The command line: parses `argv` (without node and script), runs one command, returns the exit code: 0 done, 1 failed, 2
 * usage, 130 interrupted. Data goes to stdout, everything else to stderr.
 */
import yargs, { type Argv } from 'yargs';
import { isError, SregistryError } from '../base/errors.ts';
import { nearest } from '../base/nearest.ts';
import { version } from '../base/version.ts';
import { bot, debugLog } from '../log/index.ts';
import type { Command, Context, Group } from './command.ts';
import { COMMANDS, type CommandEntry, namesOf } from './commands.ts';
import { addCompletion, COMPLETION_FLAG } from './completion.ts';
import { reportError } from './report.ts';
import { watchForShutdown } from './shutdown-signal.ts';
import { EXIT, globalOptions, HELP_COMMAND, INTRODUCTION } from './top-level.ts';
import { isParserMessage, type Refused, usageError } from './usage.ts';

const debug = debugLog('cli');

/** Columns of the help at most. */
const MAX_WIDTH = 100;

export async function main(argv: string[]): Promise<number> {
  traceWarnings();
  using shutdown = watchForShutdown();
  try {
    return await run(argv, { env: process.env, signal: shutdown.signal });
  } catch (error) {
    return shutdown.code ?? report(error);
  }
}

/** Warnings of Node and of libraries are for developers; a person who runs a command cannot act on them. */
function traceWarnings(): void {
  process.removeAllListeners('warning');
  process.on('warning', (warning) => debug('%s', warning.stack));
}

async function run(given: readonly string[], context: Context): Promise<number> {
  const argv = helpLast(given);
  const modules = await loadModules(argv);
  let code = 0;
  const execute = async (command: Command, args: Record<string, unknown>) => {
    // yargs parses a line to complete it, and would run it.
    if (isCompletion(argv)) return;
    if (args.quiet) bot.setLevel('QUIET');
    if (args.verbose) bot.setLevel('VERBOSE');
    if (args.debug) bot.setLevel('DEBUG');
    code = (await command.run(args as never, context)) ?? 0;
  };
  const parser = createParser(argv, modules).command(HELP_COMMAND.command, HELP_COMMAND.describe);
  for (const entry of COMMANDS) {
    const { command, aliases = [], describe } = entry;
    const module = modules.get(entry);
    parser.command({
      command,
      aliases,
      describe,
      builder: (own: Argv) => (module === undefined ? own : build(own, module, execute)),
      handler: (args) => (module !== undefined && 'run' in module ? execute(module, args) : undefined),
    });
  }
  if (isCompletion(argv)) addCompletion(parser, context.env);
  if (argv.every((word) => WITHOUT_COMMAND.has(word))) bot.data(await parser.getHelp());
  else await parser.parseAsync(isCompletion(argv) ? argv : commandFirst(argv, modules));
  return code;
}

/** Options that show the help if no command is given. */
const WITHOUT_COMMAND: ReadonlySet<string> = new Set(['--quiet', '-q', '--verbose', '-v', '--debug']);

/** `help WORDS...` is `WORDS... --help`. */
function helpLast(argv: readonly string[]): readonly string[] {
  if (isCompletion(argv) || wordsOf(argv)[0] !== 'help') return argv;
  const at = argv.indexOf('help');
  return [...argv.slice(0, at), ...argv.slice(at + 1), '--help'];
}

/**
 * Moves options in front of a command or a subcommand (`backend -f add lab ...`) behind it, as only the command declares its
 * options. These options take no values.
 */
function commandFirst(argv: readonly string[], modules: Modules): readonly string[] {
  const isGroup = [...modules.values()].some((module) => 'subcommands' in module);
  const words = wordsOf(argv).slice(0, isGroup ? 2 : 1);
  const rest = [...argv];
  for (const word of words) rest.splice(rest.indexOf(word), 1);
  return [...words, ...rest];
}

/** The command line without its options. */
const wordsOf = (argv: readonly string[]) => argv.filter((word) => !word.startsWith('-'));

const isCompletion = (argv: readonly string[]) => argv.includes(COMPLETION_FLAG);

type Modules = ReadonlyMap<CommandEntry, Command | Group>;

/** The modules of the commands that `argv` may mean. Throws USAGE if the command does not exist. */
async function loadModules(argv: readonly string[]): Promise<Modules> {
  const [word, next] = wordsOf(argv);
  const isWhole = !isCompletion(argv);
  if (isWhole && word === 'build') throw noBuilds();
  if (isWhole) refuseUnknown(word, [...COMMANDS.flatMap(namesOf), 'help'], 'sregistry');
  const modules = new Map<CommandEntry, Command | Group>();
  for (const entry of COMMANDS) {
    const isMeant = namesOf(entry).some((name) => (isWhole ? name === word : argv.includes(name)));
    if (!isMeant) continue;
    const module = (await entry.load()).default;
    if ('subcommands' in module && isWhole)
      refuseUnknown(next, module.subcommands.flatMap(namesOf), `sregistry ${word}`);
    modules.set(entry, module);
  }
  return modules;
}

/** The words of the command. Options in front of a command take no values, so the first words are the command. */
function refuseUnknown(word: string | undefined, names: readonly string[], before: string): void {
  if (word === undefined || names.includes(word)) return;
  const meant = nearest(word, names);
  throw new SregistryError('USAGE', `There is no command "${before} ${word}"`, {
    hint: meant === undefined ? `${before} --help lists them` : `Did you mean ${meant}?`,
  });
}

/** The Python tool builds on Google Cloud. */
function noBuilds(): SregistryError {
  return new SregistryError('USAGE', 'sregistry builds no images', {
    hint: 'Build with: apptainer build IMAGE.sif RECIPE. Then publish with: sregistry push IMAGE.sif --name URI',
  });
}

type Execute = (command: Command, args: Record<string, unknown>) => Promise<void>;

function build(yargs: Argv, module: Command | Group, execute: Execute): Argv {
  if ('run' in module) return buildCommand(yargs, module);
  for (const subcommand of module.subcommands) {
    const { command, aliases = [], describe } = subcommand;
    yargs.command({
      command,
      aliases,
      describe,
      builder: (own: Argv) => buildCommand(own, subcommand),
      handler: (args) => execute(subcommand, args),
    });
  }
  return yargs.demandCommand(1, 1, 'No command is given').group(GLOBAL_OPTIONS, 'Global options:');
}

function buildCommand(yargs: Argv, command: Command): Argv {
  const examples = command.examples.map(([line, what]) => `  # ${what}\n  ${line}`);
  return command
    .build(yargs.group([], 'Positionals:').group([], 'Options:'))
    .group(GLOBAL_OPTIONS, 'Global options:')
    .epilogue(['Examples:', ...examples].join('\n'));
}

const GLOBAL_OPTIONS = ['quiet', 'verbose', 'debug', 'version', 'help'];

function createParser(argv: readonly string[], modules: Modules): Argv {
  const parser = yargs();
  const letters = [...modules.keys()].flatMap((entry) => entry.letters ?? []);
  const { help, version: showVersion, ...own } = globalOptions(letters);
  return parser
    .scriptName('sregistry')
    .usage(`$0 <command> [options]\n\n${INTRODUCTION}`)
    .options(own)
    .help('help', help.describe)
    .alias('help', help.alias)
    .version('version', showVersion.describe, version)
    .parserConfiguration({ 'boolean-negation': false, 'parse-positional-numbers': false })
    .strict()
    .wrap(Math.min(MAX_WIDTH, parser.terminalWidth() ?? MAX_WIDTH))
    .locale('en')
    .exitProcess(false)
    .fail((message, error) => {
      // A line that is being completed may lack arguments.
      if (isCompletion(argv)) return;
      // A missing value comes as an error, which yargs' tokenizer makes.
      const isOurs = error !== undefined && !isParserMessage(error.message);
      throw isOurs ? error : usageError(message, refusedBy(parser, argv, modules));
    });
}

/** What {@link usageError} has to know of the command line that `parser` refused. */
function refusedBy(parser: Argv, argv: readonly string[], modules: Modules): Refused {
  const [entry, module] = [...modules][0] ?? [];
  const [word, next] = wordsOf(argv);
  const subcommand =
    module !== undefined && 'subcommands' in module
      ? module.subcommands.find((each) => namesOf(each).includes(next ?? ''))
      : undefined;
  const words = [entry && word, subcommand && next].filter((each) => each !== undefined);
  const usage = (subcommand ?? entry)?.command ?? '';
  // Of yargs' own, and missing in its types.
  const { key, alias } = (parser as unknown as { getOptions(): ParserOptions }).getOptions();
  const options = [...Object.keys(key), ...Object.values(alias).flat()];
  return { words, positionals: usage.split(' ').slice(1).join(' '), options, argv };
}

interface ParserOptions {
  readonly key: Readonly<Record<string, unknown>>;
  readonly alias: Readonly<Record<string, readonly string[]>>;
}

/** Prints what went wrong. Returns the exit code. */
function report(error: unknown): number {
  if (isError(error, 'CANCELED')) return EXIT.interrupted;
  reportError(error);
  return isError(error, 'USAGE') ? EXIT.usage : EXIT.failed;
}
