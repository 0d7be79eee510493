import { SregistryError } from '../base/errors.ts';
import { getImage } from '../client/get.ts';
import { bot } from '../log/index.ts';
import { ARCH_OPTION } from './arch.ts';
import { defineCommand } from './command.ts';
import { JSON_OPTION, printJson } from './json.ts';
import { containerJson, withLibrary } from './library.ts';

export default defineCommand({
  build: (yargs) =>
    yargs
      .positional('query', { type: 'string', demandOption: true, describe: 'COLLECTION/IMAGE:TAG[@VERSION]' })
      .options({
        arch: { ...ARCH_OPTION.arch, describe: 'Only an image for this architecture' },
        ...JSON_OPTION,
      }),
  examples: [['singularity run $(sregistry get demo/hello:1.0)', 'Run an image of the library']],

  async run({ query, arch, json }, { env }) {
    const found = await withLibrary(env, (library) => getImage(library, query, arch));
    const place = found?.file ?? found?.url;
    if (found === undefined || place === undefined) {
      const which = arch === undefined ? '' : ` for ${arch}`;
      throw new SregistryError('NOT_FOUND', `${query} is not in the library${which}`, {
        hint: `sregistry images lists what the library has; sregistry pull${arch === undefined ? '' : ` --arch ${arch}`} adds to it`,
      });
    }
    if (json) printJson(containerJson(found));
    else bot.data(place);
  },
});
