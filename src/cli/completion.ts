/**
 * Completion in the shell. `sregistry completion` prints yargs' script, which asks `sregistry --get-yargs-completions WORDS...`
 * for every word; yargs answers with commands and options; this module adds the names of the backends.
 */
import yargs, { type Arguments, type Argv, type CompletionCallback } from 'yargs';
import { defineCommand } from './command.ts';

/** The flag with which the script asks. */
export const COMPLETION_FLAG = '--get-yargs-completions';

export default defineCommand({
  build: (own) => own,
  examples: [
    ['source <(sregistry completion)', 'Complete in this shell, bash or zsh'],
    ['sregistry completion >> ~/.bashrc', 'Complete in every bash from now on'],
  ],

  async run() {
    yargs().scriptName('sregistry').showCompletionScript();
  },
});

/** Commands that take the URI of an image. */
const TAKE_URIS = new Set(['pull', 'push', 'share', 'inspect', 'verify', 'delete']);
/** Commands whose subcommands take the name of a backend. */
const TAKE_BACKENDS = new Set(['backend', 'auth']);

type Complete = (onCompleted: CompletionCallback) => unknown;
type Done = (words: string[]) => unknown;

/** Lets `parser` answer the script. */
export function addCompletion(parser: Argv, env: NodeJS.ProcessEnv): void {
  const answer = (current: string, args: Arguments, complete: Complete, done: Done): void => {
    complete(async (_error, own) => {
      const words = args._.map(String).filter((word) => word !== 'sregistry');
      done([...(own ?? []), ...(await backendWords(current, words, env))]);
    });
  };
  // yargs' own completion command gets another name: it prints, and then continues as if the command were unknown.
  parser.completion('completion-script', false, answer);
}

async function backendWords(
  current: string,
  [command = '', ...rest]: string[],
  env: NodeJS.ProcessEnv,
): Promise<string[]> {
  const takesUri = TAKE_URIS.has(command);
  const isSubcommand = rest.filter((word) => word !== current).length > 0;
  const takesName = command === 'shell' || (TAKE_BACKENDS.has(command) && isSubcommand);
  if (current.startsWith('-') || !(takesUri || takesName)) return [];
  const names = await backendNames(env);
  return (takesUri ? names.map((name) => `${name}://`) : names).filter((word) => word.startsWith(current));
}

async function backendNames(env: NodeJS.ProcessEnv): Promise<string[]> {
  const [{ drivers }, { configuredInstances }, { getPaths }, { readClientSecrets }] = await Promise.all([
    import('../backends/registry.ts'),
    import('../settings/instances.ts'),
    import('../settings/paths.ts'),
    import('../settings/secrets.ts'),
  ]);
  const secrets = await readClientSecrets(getPaths(env).secretsFile).catch(() => ({}));
  return configuredInstances({ drivers, env, secrets }).instances.map(({ name }) => name);
}
