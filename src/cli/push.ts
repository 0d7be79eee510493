import { SregistryError } from '../base/errors.ts';
import { push } from '../client/push.ts';
import { bot } from '../log/index.ts';
import { type Context, defineCommand, type Outcome } from './command.ts';
import { JSON_OPTION, printJson } from './json.ts';
import { decideKept } from './kept.ts';
import { progressBar } from './progress.ts';
import { openSession } from './session.ts';

export default defineCommand({
  build: (yargs) =>
    yargs
      .positional('file', {
        type: 'string',
        describe: 'An image on this machine; with --kept or --drop, a URI (default: all kept files)',
      })
      .options({
        name: {
          type: 'string',
          requiresArg: true,
          describe: 'Name in the registry: BACKEND://COLLECTION/IMAGE:TAG',
        },
        tag: { type: 'string', requiresArg: true, describe: 'Tag, instead of the one in --name' },
        'no-overwrite': { type: 'boolean', describe: 'Refuse to push over a tag that exists' },
        kept: {
          type: 'boolean',
          conflicts: ['name', 'drop', 'no-overwrite'],
          describe: 'Push files that were written into a mount and not pushed, as they are',
        },
        drop: {
          type: 'boolean',
          conflicts: ['name', 'no-overwrite'],
          describe: 'Remove files that were written into a mount and not pushed',
        },
        ...JSON_OPTION,
      })
      .check(checkUse),
  examples: [
    ['sregistry push hello.sif --name lab://demo/hello:1.0', 'Send an image to the backend lab'],
    ['sregistry push --kept', 'Push what sregistry status lists as not pushed'],
    ['sregistry push --drop lab://demo/hello:1.0', 'Remove the file that was written there and not pushed'],
  ],

  async run({ file, name, tag, noOverwrite, kept, drop, json }, context) {
    if (kept || drop) return decideKept(kept ? 'push' : 'drop', { uri: file, json }, context);
    return pushFile({ file: file as string, name: name as string, tag, noOverwrite, json }, context);
  },
});

function checkUse({
  file,
  name,
  kept,
  drop,
}: {
  file?: unknown;
  name?: unknown;
  kept?: unknown;
  drop?: unknown;
}) {
  if (kept || (drop && file !== undefined)) return true;
  if (drop)
    throw new SregistryError('USAGE', '--drop needs the URI of the file to remove', {
      hint: 'sregistry status lists what is kept',
    });
  if (file !== undefined && name !== undefined) return true;
  throw new SregistryError(
    'USAGE',
    file === undefined ? 'No image is given' : 'No name is given for the image',
    {
      hint: 'sregistry push FILE --name BACKEND://COLLECTION/IMAGE:TAG',
    },
  );
}

interface FileArguments {
  readonly file: string;
  readonly name: string;
  readonly tag: string | undefined;
  readonly noOverwrite: boolean | undefined;
  readonly json: boolean | undefined;
}

async function pushFile(
  { file, name, tag, noOverwrite, json }: FileArguments,
  context: Context,
): Promise<Outcome> {
  await using session = await openSession(context);
  using bar = progressBar(name);
  const { signal } = context;
  const options = { tag, ifAbsent: noOverwrite, progress: bar.progress, signal };
  const { uri, image } = await push(session, file, name, options);
  if (json) printJson({ uri, size: image.size, digest: image.digest });
  else bot.data([uri, image.digest].filter(Boolean).join(' '));
  return undefined;
}
