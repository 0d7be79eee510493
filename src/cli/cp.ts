import { copy } from '../client/copy.ts';
import { bot } from '../log/index.ts';
import { ARCH_OPTION } from './arch.ts';
import { defineCommand } from './command.ts';
import { JSON_OPTION, printJson } from './json.ts';
import { progressBar } from './progress.ts';
import { openSession } from './session.ts';

export default defineCommand({
  build: (yargs) =>
    yargs
      .positional('from', { type: 'string', demandOption: true, describe: 'BACKEND://COLLECTION/IMAGE:TAG' })
      .positional('to', {
        type: 'string',
        demandOption: true,
        describe: 'Name of the copy, in the same form',
      })
      .options({ ...ARCH_OPTION, ...JSON_OPTION }),
  examples: [
    ['sregistry cp hub://vsoch/hello-world:latest lab://demo/hello:1.0', 'Copy from one registry to another'],
    [
      'sregistry cp lab://demo/hello:1.0 lab://demo/hello:stable',
      'Give an image another tag, in the registry itself',
    ],
  ],

  async run({ from, to, arch, json }, context) {
    await using session = await openSession(context, { arch });
    using bar = progressBar(to);
    const { uri, image, within } = await copy(session, from, to, {
      progress: bar.progress,
      signal: context.signal,
    });
    if (json) printJson({ uri, size: image.size, digest: image.digest, within });
    else bot.data([uri, image.digest].filter(Boolean).join(' '));
  },
});
