import { renameImage } from '../client/images.ts';
import { bot } from '../log/index.ts';
import { defineCommand } from './command.ts';
import { JSON_OPTION, printJson } from './json.ts';
import { containerJson, withLibrary } from './library.ts';

export default defineCommand({
  build: (yargs) =>
    yargs
      .positional('name', { type: 'string', demandOption: true, describe: 'COLLECTION/IMAGE:TAG[@VERSION]' })
      .positional('to', { type: 'string', demandOption: true, describe: 'Its new COLLECTION/IMAGE:TAG' })
      .options(JSON_OPTION),
  examples: [['sregistry rename demo/hello:1.0 tools/hello:1.0', 'Give an image another collection']],

  async run({ name, to, json }, { env }) {
    const renamed = await withLibrary(env, (library) => renameImage(library, name, to));
    if (json) printJson(containerJson(renamed));
    else bot.data(`[rename] ${name} => ${renamed.uri}`);
  },
});
