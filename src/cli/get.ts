import { SregistryError } from '../base/errors.ts';
import { bot } from '../log/index.ts';
import { defineCommand } from './command.ts';
import { JSON_OPTION, printJson } from './json.ts';
import { containerJson, withLibrary } from './library.ts';

export default defineCommand({
  build: (yargs) =>
    yargs
      .positional('query', { type: 'string', demandOption: true, describe: 'COLLECTION/IMAGE:TAG[@VERSION]' })
      .options(JSON_OPTION),
  examples: [['singularity run $(sregistry get demo/hello:1.0)', 'Run an image of the library']],

  async run({ query, json }, { env }) {
    const found = await withLibrary(env, async (library) => library.get(query));
    const place = found?.file ?? found?.url;
    if (found === undefined || place === undefined) {
      throw new SregistryError('NOT_FOUND', `${query} is not in the library`, {
        hint: 'sregistry images lists what the library has; sregistry pull adds to it',
      });
    }
    if (json) printJson(containerJson(found));
    else bot.data(place);
  },
});
