import { describeError, SregistryError } from '../base/errors.ts';
import { type PullOptions, pull } from '../client/pull.ts';
import { bot } from '../log/index.ts';
import { ARCH_OPTION } from './arch.ts';
import { defineCommand } from './command.ts';
import { JSON_OPTION, printJson } from './json.ts';
import { progressBar } from './progress.ts';
import { reportError } from './report.ts';
import { openSession } from './session.ts';

export default defineCommand({
  build: (yargs) =>
    yargs
      .positional('uri', {
        type: 'string',
        array: true,
        demandOption: true,
        describe: 'What to pull: BACKEND://COLLECTION/IMAGE:TAG',
      })
      .options({
        name: { type: 'string', requiresArg: true, describe: 'File to write the image to' },
        force: { type: 'boolean', alias: 'f', describe: 'Replace the file if it exists' },
        'no-cache': {
          type: 'boolean',
          describe:
            'Do not store the image in the library; without --name, write it to the working directory',
        },
        ...ARCH_OPTION,
        ...JSON_OPTION,
      }),
  examples: [
    ['sregistry pull docker://ghcr.io/apptainer/lolcow', 'Pull an image into the library, print its path'],
    [
      'sregistry pull docker://python:3.12 --name python.sif --arch arm64',
      'Make a SIF of a Docker image, for another kind of machine',
    ],
    ['sregistry pull --no-cache lab://demo/a lab://demo/b', 'Write two files into the working directory'],
  ],

  async run({ uri, name, force, noCache, arch, json }, context) {
    if (name !== undefined && uri.length > 1)
      throw new SregistryError('USAGE', '--name is one file, and several images were given');
    const { signal } = context;
    await using session = await openSession(context, { arch });
    const pullOne = async (each: string) => {
      using bar = progressBar(each);
      const options: PullOptions = { file: name, force, noLibrary: noCache, progress: bar.progress, signal };
      const { uri: full, image, path } = await pull(session, each, options);
      if (!json) bot.data(path);
      return { uri: full, path, size: image.size, digest: image.digest };
    };
    const [only, ...more] = uri;
    if (more.length === 0) {
      const pulled = await pullOne(only as string);
      if (json) printJson([pulled]);
      return undefined;
    }
    const outcomes = [];
    for (const each of uri)
      outcomes.push(await pullOne(each).catch((error) => failureOf(each, error, signal)));
    if (json) printJson(outcomes);
    const failed = outcomes.filter((outcome) => 'error' in outcome);
    if (failed.length === 0) return undefined;
    bot.error(
      `${failed.length} of ${uri.length} images were not pulled: ${failed.map((each) => each.uri).join(' ')}`,
    );
    return 1;
  },
});

/** Reports why an image was not pulled, so that the next ones are. Throws the error if the person has ended the command. */
function failureOf(uri: string, error: unknown, signal: AbortSignal) {
  if (signal.aborted) throw error;
  reportError(error);
  return { uri, error: describeError(error) };
}
