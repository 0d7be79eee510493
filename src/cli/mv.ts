import { bot } from '../log/index.ts';
import { defineCommand } from './command.ts';
import { JSON_OPTION, printJson } from './json.ts';
import { containerJson, withLibrary } from './library.ts';

export default defineCommand({
  build: (yargs) =>
    yargs
      .positional('name', { type: 'string', demandOption: true, describe: 'COLLECTION/IMAGE:TAG[@VERSION]' })
      .positional('path', { type: 'string', demandOption: true, describe: 'A folder, or a new file' })
      .options(JSON_OPTION),
  examples: [['sregistry mv demo/hello:1.0 ~/images', 'Move the file; the library remembers where it went']],

  async run({ name, path, json }, { env }) {
    const moved = await withLibrary(env, (library) => library.mv(name, path));
    if (json) printJson(containerJson(moved));
    else bot.data(`[move] ${name} => ${moved.file}`);
  },
});
