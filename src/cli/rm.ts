import { bot } from '../log/index.ts';
import { defineCommand } from './command.ts';
import { JSON_OPTION, printJson } from './json.ts';
import { containerJson, withLibrary } from './library.ts';

export default defineCommand({
  build: (yargs) =>
    yargs
      .positional('image', { type: 'string', demandOption: true, describe: 'COLLECTION/IMAGE:TAG[@VERSION]' })
      .options(JSON_OPTION),
  examples: [['sregistry rm demo/hello:1.0', 'Remove an image and its file from this machine']],

  async run({ image, json }, { env }) {
    const removed = await withLibrary(env, (library) => library.rm(image));
    if (json) printJson(containerJson(removed));
    else bot.data(removed.uri);
  },
});
