/**
 * Completion in the shell. `sregistry completion SHELL` prints a script, which asks `sregistry --get-yargs-completions WORDS...`
 * for every word; yargs answers with commands and options; this module adds backends, mount points, and images as far as they are known:
 * it asks no service, and says nothing if it fails.
 */
import { basename } from 'node:path';
import type { Arguments, Argv, CompletionCallback } from 'yargs';
import { bot, debugLog } from '../log/index.ts';
import { defineCommand } from './command.ts';
import { SCRIPTS, SHELLS, type Shell } from './completion-scripts.ts';

/** The flag with which the script asks. */
export const COMPLETION_FLAG = '--get-yargs-completions';

const debug = debugLog('completion');

export default defineCommand({
  build: (own) =>
    own.positional('shell', {
      choices: SHELLS,
      describe: 'The shell',
      defaultDescription: 'that of SHELL',
    }),
  examples: [
    ['source <(sregistry completion bash)', 'Complete in this shell'],
    [
      'sregistry completion zsh > ~/.zfunc/_sregistry',
      'Complete in every zsh that has ~/.zfunc in its fpath',
    ],
    ['sregistry completion fish > ~/.config/fish/completions/sregistry.fish', 'Complete in every fish'],
  ],

  async run({ shell }, { env }) {
    bot.data(SCRIPTS[shell ?? shellOf(env)]);
  },
});

function shellOf({ SHELL = '' }: NodeJS.ProcessEnv): Shell {
  return SHELLS.find((shell) => shell === basename(SHELL)) ?? 'bash';
}

/** Commands that take the URI of an image. */
const TAKE_URIS = new Set(['pull', 'push', 'cp', 'share', 'inspect', 'verify', 'delete']);
/** Commands that take the name of an image of the library. */
const TAKE_NAMES = new Set(['get', 'inspect', 'verify', 'images', 'mv', 'rename', 'rm']);
/** Commands whose subcommands take the name of a backend. */
const TAKE_BACKENDS = new Set(['backend', 'auth']);
const TAKE_MOUNTS = new Set(['unmount', 'umount', 'status']);

type Complete = (onCompleted: CompletionCallback) => unknown;
type Done = (words: string[]) => unknown;

/** Lets `parser` answer the script. */
export function addCompletion(parser: Argv, env: NodeJS.ProcessEnv): void {
  const answer = (current: string, args: Arguments, complete: Complete, done: Done): void => {
    complete(async (_error, own) => {
      const words = args._.map(String).filter((word) => word !== 'sregistry');
      const more = await wordsFor(current, words, env).catch((error: unknown) => {
        debug('%o', error);
        return [];
      });
      done([...(own ?? []), ...more.filter((word) => word.startsWith(current))]);
    });
  };
  // yargs' own completion command gets another name: it prints, and then continues as if the command were unknown.
  parser.completion('completion-script', false, answer);
}

async function wordsFor(
  current: string,
  [command = '', ...rest]: string[],
  env: NodeJS.ProcessEnv,
): Promise<string[]> {
  if (current.startsWith('-')) return [];
  const before = rest.filter((word) => word !== current);
  if (TAKE_MOUNTS.has(command)) return mountpoints(env);
  const isPin = command === 'cache' && /^(un)?pin$/.test(before[0] ?? '');
  if (TAKE_URIS.has(command) || isPin) {
    const [, scheme] = /^([^/]+):\/\//.exec(current) ?? [];
    if (scheme !== undefined) return byFolder(await imagesOf(scheme, env), current);
    const uris = (await backendNames(env)).map((name) => `${name}://`);
    return TAKE_NAMES.has(command) ? [...uris, ...(await imagesOf(undefined, env))] : uris;
  }
  if (TAKE_NAMES.has(command)) return imagesOf(undefined, env);
  if (command === 'shell' || (TAKE_BACKENDS.has(command) && before.length > 0)) return backendNames(env);
  return [];
}

/** What comes next in URIs that begin with `current`: collections up to their slash, images whole. Each once. */
function byFolder(uris: readonly string[], current: string): string[] {
  const next = uris
    .filter((uri) => uri.startsWith(current))
    .map((uri) => uri.slice(0, uri.indexOf('/', current.length) + 1) || uri);
  return [...new Set(next)];
}

/** URIs of a backend's images; without one, the names of the library. */
async function imagesOf(backend: string | undefined, env: NodeJS.ProcessEnv): Promise<string[]> {
  const [{ Session }, { knownUris, libraryNames }] = await Promise.all([
    import('../client/session.ts'),
    import('../client/known-names.ts'),
  ]);
  await using session = await Session.open({ env, offline: true, fitCache: false });
  return backend === undefined ? libraryNames(session) : knownUris(session, backend);
}

async function mountpoints(env: NodeJS.ProcessEnv): Promise<string[]> {
  const [{ listMounts }, { getPaths }] = await Promise.all([
    import('../fs/mount-record.ts'),
    import('../settings/paths.ts'),
  ]);
  return (await listMounts(getPaths(env).runtimeDir)).map(({ mountpoint }) => mountpoint);
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
