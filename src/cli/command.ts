/** A command: its arguments and its action. Each command is a module of its own, loaded when it is used. */
import type { ArgumentsCamelCase, Argv } from 'yargs';

/** A command: a command line and its action. */
export type Example = readonly [commandLine: string, what: string];

export interface Context {
  readonly env: NodeJS.ProcessEnv;
  /** Fires when the person or the system wants the command to end. */
  readonly signal: AbortSignal;
}

/** The exit code; 0 if nothing is returned. */
export type Outcome = number | undefined;

export interface Command {
  /** Adds options and positionals. */
  build(yargs: Argv): Argv;
  readonly examples: readonly Example[];
  run(args: never, context: Context): Promise<Outcome>;
}

export interface Subcommand extends Command {
  /** Name and positionals as yargs writes them: `add <name> [settings..]`. */
  readonly command: string;
  readonly aliases?: readonly string[];
  readonly describe: string;
}

/** A command that only has commands below it. */
export interface Group {
  readonly subcommands: readonly Subcommand[];
}

interface Definition<T> {
  build(yargs: Argv): Argv<T>;
  readonly examples: readonly Example[];
  run(args: ArgumentsCamelCase<T>, context: Context): Promise<Outcome>;
}

/** Infers the arguments from what `build` adds. */
export function defineCommand<T>(definition: Definition<T>): Command {
  return definition;
}

export function defineSubcommand<T>(definition: Definition<T> & Omit<Subcommand, keyof Command>): Subcommand {
  return definition;
}
