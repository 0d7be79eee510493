import { push } from '../client/push.ts';
import { bot } from '../log/index.ts';
import { defineCommand, JSON_OPTION } from './command.ts';
import { printJson } from './json.ts';
import { progressBar } from './progress.ts';
import { openSession } from './session.ts';

export default defineCommand({
  build: (yargs) =>
    yargs
      .positional('file', { type: 'string', demandOption: true, describe: 'An image on this machine' })
      .options({
        name: {
          type: 'string',
          demandOption: true,
          requiresArg: true,
          describe: 'What to call it there: BACKEND://COLLECTION/IMAGE:TAG',
        },
        tag: { type: 'string', requiresArg: true, describe: 'Tag, instead of that in --name' },
        ...JSON_OPTION,
      }),
  examples: [
    ['sregistry push hello.sif --name lab://demo/hello:1.0', 'Send an image to the backend lab'],
    ['sregistry push hello.sif --name lab://demo/hello --tag 2.0', 'The same, with the tag apart'],
  ],

  async run({ file, name, tag, json }, context) {
    await using session = await openSession(context);
    using bar = progressBar(name);
    const { signal } = context;
    const { uri, image } = await push(session, file, name, { tag, progress: bar.progress, signal });
    if (json) printJson({ uri, size: image.size, digest: image.digest });
    else bot.data([uri, image.digest].filter(Boolean).join(' '));
  },
});
