import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { SregistryError } from '../base/errors.ts';
import { becomeFrugal, mountInBackground, mountStatuses } from '../fs/daemon.ts';
import type { MountRequest } from '../fs/mount.ts';
import { serveMount } from '../fs/service.ts';
import { bot, isJournal, LOG_FORMATS, type Log, type LogFormat, lineLog } from '../log/index.ts';
import { ARCH_OPTION } from './arch.ts';
import { type Context, defineCommand } from './command.ts';
import { type MountFlags, parseMountOptions } from './mount-options.ts';
import { mountpointOf } from './mountpoint.ts';

const WHAT = 'What the mount shows:';
const HOW = 'What the mount allows:';
const CACHE = 'Cache:';
const PROCESS = 'Process:';

export default defineCommand({
  build: (yargs) =>
    yargs
      .positional('mountpoint', {
        type: 'string',
        describe: 'An empty folder; created if it does not exist',
        defaultDescription: 'SREGISTRY_MOUNTPOINT, else /mnt/sregistry',
      })
      .options({
        backend: {
          type: 'string',
          array: true,
          nargs: 1,
          group: WHAT,
          describe: 'Show only this backend, not all configured ones; may be given several times',
        },
        config: {
          type: 'string',
          requiresArg: true,
          group: WHAT,
          describe: 'File with the settings of backends [SREGISTRY_CLIENT_SECRETS, else ~/.sregistry]',
        },
        ext: { type: 'string', requiresArg: true, group: WHAT, describe: 'Extension of the files [simg]' },
        offline: {
          type: 'boolean',
          group: WHAT,
          describe: 'Ask no service; show what catalog and cache have',
        },
        arch: { ...ARCH_OPTION.arch, group: WHAT },
        ttl: {
          type: 'string',
          requiresArg: true,
          group: WHAT,
          describe: 'How long to trust a tag or a listing [30s]',
        },
        'read-only': { type: 'boolean', group: HOW, describe: 'Refuse every write' },
        'allow-delete': { type: 'boolean', group: HOW, describe: 'Let rm delete images from their registry' },
        'no-overwrite': { type: 'boolean', group: HOW, describe: 'Refuse to push over a tag that exists' },
        'require-signed': {
          type: 'string',
          requiresArg: true,
          group: HOW,
          describe: 'Refuse to open images that no key in this file has signed',
        },
        'no-xattrs': {
          type: 'boolean',
          group: HOW,
          describe: 'Have no extended attributes, which ls -l asks each file for',
        },
        'allow-other': {
          type: 'boolean',
          group: HOW,
          describe: 'Let other users of this machine use the mount',
        },
        'cache-dir': {
          type: 'string',
          requiresArg: true,
          group: CACHE,
          describe: 'Folder of the cache [SREGISTRY_CACHEDIR, else ~/.cache/sregistry]',
        },
        'cache-size': {
          type: 'string',
          requiresArg: true,
          group: CACHE,
          describe: 'Size limit of the cache: 50G, 20% [20%, at most 50G]',
        },
        'cache-min-free': {
          type: 'string',
          requiresArg: true,
          group: CACHE,
          describe: 'Space to keep free on its file system [2G]',
        },
        foreground: {
          type: 'boolean',
          alias: 'f',
          group: PROCESS,
          describe: 'Stay in the foreground; Ctrl-C unmounts',
        },
        'push-wait': {
          type: 'string',
          requiresArg: true,
          group: PROCESS,
          describe: 'How long a signal to end waits for pushes [60s]',
        },
        'log-format': {
          choices: LOG_FORMATS,
          requiresArg: true,
          group: PROCESS,
          describe: 'Lines of the log [text; journal under systemd]',
        },
        options: {
          type: 'string',
          alias: 'o',
          array: true,
          nargs: 1,
          group: PROCESS,
          describe: 'Options in the form of mount(8): ro,allow_other,cache_size=50G,backend=lab',
        },
      }),
  examples: [
    ['sregistry mount', 'Show all configured registries in the default place'],
    ['sregistry mount ~/images --backend lab --read-only', 'Show one backend, read-only'],
    ['sregistry mount /mnt/sregistry -o ro,cache_size=50G', 'As fstab does'],
  ],

  async run(args, context) {
    const flags = { ...parseMountOptions(args.options ?? []), ...given(args) };
    const mountpoint = await mountpointOf(args.mountpoint, context.env);
    const request = requestOf(mountpoint, flags);
    if (args.foreground) return serve(request, context);
    await mountInBackground(request, context.env);
    const [status] = (await mountStatuses(context.env, mountpoint)).mounts;
    bot.info(`Mounted at ${mountpoint}: ${status?.backends.join(', ')}`);
  },
});

/** The given flags. They take precedence over `-o`. */
function given(flags: MountFlags): MountFlags {
  return Object.fromEntries(Object.entries(flags).filter(([, value]) => value !== undefined));
}

function requestOf(mountpoint: string, flags: MountFlags): MountRequest {
  return {
    mountpoint,
    backends: flags.backend,
    extension: flags.ext,
    offline: flags.offline,
    arch: flags.arch,
    ttl: flags.ttl,
    cacheSize: flags.cacheSize,
    cacheMinFree: flags.cacheMinFree,
    readOnly: flags.readOnly ?? false,
    allowOther: flags.allowOther ?? false,
    allowDelete: flags.allowDelete ?? false,
    noOverwrite: flags.noOverwrite ?? false,
    noXattrs: flags.noXattrs ?? false,
    requireSigned: flags.requireSigned === undefined ? undefined : resolve(flags.requireSigned),
    fuseOptions: flags.fuseOptions ?? [],
    pushWait: flags.pushWait,
    logFormat: flags.logFormat === undefined ? undefined : logFormatOf(flags.logFormat),
    variables: variablesOf(flags),
  };
}

/** Throws USAGE for an unknown one, as `-o` takes any text. */
function logFormatOf(text: string): LogFormat {
  const format = LOG_FORMATS.find((each) => each === text);
  if (format !== undefined) return format;
  throw new SregistryError('USAGE', `"${text}" is not a format of the log`, {
    hint: `The formats are ${LOG_FORMATS.join(', ')}`,
  });
}

/** The flags that stand for a variable of the environment, which fstab cannot set. */
function variablesOf({ config, cacheDir }: MountFlags): Record<string, string> {
  if (config !== undefined && !existsSync(config))
    throw new SregistryError('USAGE', `There is no file ${config} with the settings of backends`, {
      hint: 'Make it with: SREGISTRY_CLIENT_SECRETS=FILE sregistry backend add NAME KEY VALUE',
    });
  return {
    ...(config !== undefined && { SREGISTRY_CLIENT_SECRETS: resolve(config) }),
    ...(cacheDir !== undefined && { SREGISTRY_CACHEDIR: resolve(cacheDir) }),
  };
}

/** Serves the mount until it ends, on request or because someone unmounted it. */
async function serve(request: MountRequest, { env, signal }: Context): Promise<never> {
  becomeFrugal(env);
  const format = request.logFormat ?? (isJournal(env) ? 'journal' : undefined);
  const log: Log =
    format === undefined
      ? (message) => bot.info(message)
      : lineLog(format, (line) => process.stderr.write(line));
  const failed = await serveMount(request, { env, signal, log, reloads: !process.stdin.isTTY });
  // libfuse's threads would keep the process alive.
  process.exit(failed.length > 0 ? 1 : 0);
}
