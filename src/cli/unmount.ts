import { unmountAt } from '../fs/daemon.ts';
import { bot } from '../log/index.ts';
import { defineCommand } from './command.ts';
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
          describe: 'Do not wait for pushes: they are kept, and go on at the next mount',
        },
      }),
  examples: [['sregistry unmount /mnt/sregistry', 'End the mount when its pushes are done']],

  async run(args, { env, signal }) {
    const mountpoint = await mountpointOf(args.mountpoint, env);
    await unmountAt(mountpoint, args.force ?? false, env, signal);
    bot.info(`Unmounted ${mountpoint}`);
  },
});
