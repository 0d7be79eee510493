import type { MountStatus } from '../fs/control.ts';
import { unmountAt } from '../fs/daemon.ts';
import { type Cut, describeUsed } from '../fs/in-use.ts';
import { bot } from '../log/index.ts';
import { defineCommand } from './command.ts';
import { JSON_OPTION, printJson } from './json.ts';
import { mountpointOf } from './mountpoint.ts';

export default defineCommand({
  build: (yargs) =>
    yargs
      .positional('mountpoint', {
        type: 'string',
        describe: 'Where it is mounted',
        defaultDescription: 'SREGISTRY_MOUNTPOINT, else /mnt/sregistry',
      })
      .options({
        force: {
          type: 'boolean',
          alias: 'f',
          describe: 'End it although it is in use; pushes under way are kept and continue at the next mount',
        },
        ...JSON_OPTION,
      }),
  examples: [
    ['sregistry unmount /mnt/sregistry', 'End the mount when its pushes are done, unless it is in use'],
    ['sregistry unmount --force /mnt/sregistry', 'End it now, and list what that cut off'],
  ],

  async run(args, { env, signal }) {
    const mountpoint = await mountpointOf(args.mountpoint, env);
    // A process that works in a folder of the mount uses it. This process inherits that from the shell, so it leaves.
    process.chdir('/');
    const cut = await unmount(mountpoint, args.force ?? false, env, signal);
    if (args.json) return printJson({ mountpoint, cut });
    warnOfCut(cut);
    bot.info(`Unmounted ${mountpoint}`);
  },
});

async function unmount(mountpoint: string, force: boolean, env: NodeJS.ProcessEnv, signal: AbortSignal) {
  try {
    return await unmountAt(mountpoint, { force, env, signal, onWait: showPushes });
  } finally {
    bot.spinner.stop();
  }
}

function showPushes({ pushing }: MountStatus): void {
  if (pushing > 0) bot.spinner.start(`Waiting for ${pushing === 1 ? 'a push' : `${pushing} pushes`} to end`);
}

function warnOfCut({ files, pushes }: Cut): void {
  for (const used of files) bot.warning(`Cut off ${describeUsed(used)}`);
  for (const uri of pushes)
    bot.warning(`Cut off the push of ${uri}: it is kept and continues at the next mount`);
}
