import { parseImageName, removeUri } from '../image/names.ts';
import { bot } from '../log/index.ts';
import { defineCommand, JSON_OPTION } from './command.ts';
import { printJson } from './json.ts';
import { containerJson, withLibrary } from './library.ts';

export default defineCommand({
  build: (yargs) =>
    yargs
      .positional('name', { type: 'string', demandOption: true, describe: 'COLLECTION/IMAGE:TAG[@VERSION]' })
      .positional('to', { type: 'string', demandOption: true, describe: 'Its new COLLECTION/IMAGE:TAG' })
      .options(JSON_OPTION),
  examples: [['sregistry rename demo/hello:1.0 tools/hello:1.0', 'Give an image another collection']],

  async run({ name, to, json }, { env }) {
    const wanted = parseImageName(removeUri(to));
    const renamed = await withLibrary(env, (library) => library.rename(name, wanted));
    if (json) printJson(containerJson(renamed));
    else bot.data(`[rename] ${name} => ${renamed.uri}`);
  },
});
