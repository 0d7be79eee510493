/** The table of commands. Each module is loaded when its command is used, so the others do not slow the start. */
import type { Command, Group } from './command.ts';

export interface CommandEntry {
  /** Name and positionals as yargs writes them. */
  readonly command: string;
  readonly aliases?: readonly string[];
  readonly describe: string;
  /** Letters of global options that mean something else to this command, as they do to the Python client. */
  readonly letters?: readonly string[];
  load(): Promise<{ default: Command | Group }>;
}

export const COMMANDS: readonly CommandEntry[] = [
  {
    command: 'mount [mountpoint]',
    describe: 'Show the configured registries as folders',
    load: () => import('./mount.ts'),
  },
  {
    command: 'unmount [mountpoint]',
    aliases: ['umount'],
    describe: 'End a mount when its pushes are done',
    load: () => import('./unmount.ts'),
  },
  {
    command: 'status [mountpoint]',
    describe: 'Show mounts, their cache and transfers, and pushes that are pending or failed',
    load: () => import('./status.ts'),
  },
  {
    command: 'pull <uri..>',
    describe: 'Bring images to this machine',
    load: () => import('./pull.ts'),
  },
  {
    command: 'push [file]',
    describe: 'Send an image to a registry',
    load: () => import('./push.ts'),
  },
  {
    command: 'cp <from> <to>',
    describe: 'Copy an image to another name or registry',
    load: () => import('./cp.ts'),
  },
  {
    command: 'search [query..]',
    describe: 'Find images in the registries',
    load: () => import('./search.ts'),
  },
  {
    command: 'share <uri>',
    describe: 'Get a link to an image, or give someone access to it',
    load: () => import('./share.ts'),
  },
  {
    command: 'inspect <image> [path]',
    describe: 'Show what is known of an image: a URI, a file, or a name in the library',
    load: () => import('./inspect.ts'),
  },
  {
    command: 'verify <image>',
    describe: 'Check who signed an image and that nobody has changed it since',
    load: () => import('./verify.ts'),
  },
  {
    command: 'images [query..]',
    describe: 'List the images of the library on this machine',
    load: () => import('./images.ts'),
  },
  {
    command: 'get <query>',
    describe: 'Print the path of an image of the library',
    load: () => import('./get.ts'),
  },
  {
    command: 'add <file>',
    describe: 'Put an image file into the library',
    load: () => import('./add.ts'),
  },
  {
    command: 'mv <name> <path>',
    describe: 'Move an image file out of the library to a path of yours',
    load: () => import('./mv.ts'),
  },
  {
    command: 'rename <name> <to>',
    describe: 'Give an image of the library another name',
    load: () => import('./rename.ts'),
  },
  {
    command: 'rm <image>',
    describe: 'Remove an image from the library, with its file',
    load: () => import('./rm.ts'),
  },
  {
    command: 'delete <uri>',
    describe: 'Delete an image from its registry',
    load: () => import('./delete.ts'),
  },
  {
    command: 'labels',
    describe: 'List labels of the images on this machine and of those seen in registries',
    letters: ['v'],
    load: () => import('./labels.ts'),
  },
  {
    command: 'backend',
    describe: 'Show and change the configured registries',
    load: () => import('./backend.ts'),
  },
  {
    command: 'auth',
    describe: 'Log in to registries',
    load: () => import('./auth.ts'),
  },
  {
    command: 'cache',
    describe: 'Show and clean the cache of images on this machine',
    load: () => import('./cache.ts'),
  },
  {
    command: 'shell [backend]',
    describe: 'Run JavaScript with a client at hand, or a script from stdin',
    load: () => import('./shell.ts'),
  },
  {
    command: 'doctor',
    describe: 'Show what is missing on this machine and the command that fixes it',
    load: () => import('./doctor.ts'),
  },
  {
    command: 'completion [shell]',
    describe: 'Print a script for the completion of bash, zsh or fish',
    load: () => import('./completion.ts'),
  },
  {
    command: 'version',
    describe: 'Print the version',
    load: () => import('./version.ts'),
  },
];

/** The name and the aliases of a command. */
export function namesOf({ command, aliases = [] }: Pick<CommandEntry, 'command' | 'aliases'>): string[] {
  return [command.split(' ')[0] as string, ...aliases];
}
