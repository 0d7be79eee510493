/** What a command declares to yargs, for those who do not parse with it. */
import type { Argv, Options, PositionalOptions } from 'yargs';
import type { Command } from '../../src/cli/command.ts';

/** `defaultDescription` is missing in the types of yargs. */
export type Positional = PositionalOptions & Pick<Options, 'defaultDescription'>;

export interface Declared {
  readonly positionals: Readonly<Record<string, Positional>>;
  readonly options: Readonly<Record<string, Options>>;
}

/** Methods of yargs that say how a line is checked, not what it may contain. */
const CHECKS: ReadonlySet<PropertyKey> = new Set(['check', 'conflicts']);

/**
 * Lets the command build its command line on a yargs that only writes down. Throws if the command uses more of yargs than is
 * known here.
 */
export function declaredBy(command: Pick<Command, 'build'>): Declared {
  const positionals: Record<string, Positional> = {};
  const options: Record<string, Options> = {};
  const methods: Record<PropertyKey, (...words: never[]) => void> = {
    positional: (name: string, spec: Positional) => void Object.assign(positionals, { [name]: spec }),
    options: (specs: Record<string, Options>) => void Object.assign(options, specs),
  };
  const recorder: Argv = new Proxy({} as Argv, {
    get: (_target, name) => {
      const method = methods[name];
      if (method === undefined && !CHECKS.has(name))
        throw new Error(`The man pages do not know what ${String(name)} of yargs declares`);
      return (...words: never[]) => {
        method?.(...words);
        return recorder;
      };
    },
  });
  command.build(recorder);
  return { positionals, options };
}
