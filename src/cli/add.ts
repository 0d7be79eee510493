import { addImage } from '../client/add.ts';
import { bot } from '../log/index.ts';
import { defineCommand } from './command.ts';
import { JSON_OPTION, printJson } from './json.ts';
import { containerJson, withLibrary } from './library.ts';

export default defineCommand({
  build: (yargs) =>
    yargs
      .positional('file', { type: 'string', demandOption: true, describe: 'An image on this machine' })
      .options({
        name: {
          type: 'string',
          demandOption: true,
          requiresArg: true,
          describe: 'Name in the library: COLLECTION/IMAGE:TAG',
        },
        copy: { type: 'boolean', describe: 'Copy the file instead of moving it' },
        ...JSON_OPTION,
      }),
  examples: [
    ['sregistry add hello.sif --name demo/hello:1.0', 'Move a file into the library'],
    ['sregistry add hello.sif --name demo/hello:1.0 --copy', 'Keep the file, too'],
  ],

  async run({ file, name, copy, json }, { env, signal }) {
    const added = await withLibrary(env, (library) => addImage(library, { file, name, copy, signal }));
    if (json) printJson(containerJson(added));
    else bot.data(added.file ?? file);
  },
});
