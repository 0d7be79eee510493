/** Completion in the shell: yargs' own script and its commands and options, and the names of the backends. */
import type { Arguments, Argv, CompletionCallback } from 'yargs';

/** Commands that take the URI of an image. */
const TAKE_URIS = new Set(['pull', 'push', 'share', 'inspect', 'delete']);
/** Commands whose subcommands take the name of a backend. */
const TAKE_BACKENDS = new Set(['backend', 'auth']);

type Complete = (onCompleted: CompletionCallback) => unknown;
type Done = (words: string[]) => unknown;

export function addCompletion(parser: Argv, env: NodeJS.ProcessEnv): void {
  const answer = (current: string, args: Arguments, complete: Complete, done: Done): void => {
    complete(async (_error, own) => {
      const words = args._.map(String).filter((word) => word !== 'sregistry');
      done([...(own ?? []), ...(await backendWords(current, words, env))]);
    });
  };
  parser.completion('completion', 'Print a script for the completion of bash or zsh', answer);
}

async function backendWords(
  current: string,
  [command = '', ...rest]: string[],
  env: NodeJS.ProcessEnv,
): Promise<string[]> {
  const takesUri = TAKE_URIS.has(command);
  const takesName = TAKE_BACKENDS.has(command) && rest.filter((word) => word !== current).length > 0;
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
