import { inspect } from '../client/inspect.ts';
import { defineCommand, JSON_OPTION } from './command.ts';
import { printJson } from './json.ts';
import { openSession } from './session.ts';

export default defineCommand({
  build: (yargs) =>
    yargs
      .positional('image', {
        type: 'string',
        demandOption: true,
        describe: 'BACKEND://COLLECTION/IMAGE:TAG, the path of a file, or a name in the library',
      })
      .options(JSON_OPTION),
  examples: [
    ['sregistry inspect lab://demo/hello:1.0', 'An image of a registry, without pulling it'],
    ['sregistry inspect hello.sif', 'A file, without Singularity'],
  ],

  async run({ image }, context) {
    await using session = await openSession(context);
    printJson(await inspect(session, image, context.signal));
  },
});
