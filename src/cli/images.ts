import { type ImageSummary, listImages } from '../client/images.ts';
import { removeUri } from '../image/names.ts';
import { bot } from '../log/index.ts';
import { defineCommand } from './command.ts';
import { formatDay, formatSize } from './format.ts';
import { JSON_OPTION, printJson } from './json.ts';
import { withLibrary } from './library.ts';

export default defineCommand({
  build: (yargs) =>
    yargs
      .positional('query', {
        type: 'string',
        array: true,
        default: [] as string[],
        defaultDescription: 'all images',
        describe: 'A part of the name, tag or version',
      })
      .options(JSON_OPTION),
  examples: [
    ['sregistry images', 'All of them'],
    ['sregistry images demo/', 'Those whose name holds demo/'],
  ],

  async run({ query, json }, { env }) {
    const images = await withLibrary(env, (library) => listImages(library, query.join(' ')));
    if (json) printJson(images);
    else bot.table(images.map(toRow), { header: ['date', 'client', 'size', 'uri'] });
  },
});

function toRow({ modified, client, size, uri }: ImageSummary): string[] {
  return [formatDay(modified), `[${client}]`, formatSize(size), removeUri(uri)];
}
