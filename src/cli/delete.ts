import { SregistryError } from '../base/errors.ts';
import { confirm, isInteractive } from '../client/prompt.ts';
import { findRemovable, remove } from '../client/remove.ts';
import { parseTarget } from '../client/target.ts';
import { bot } from '../log/index.ts';
import { defineCommand } from './command.ts';
import { JSON_OPTION, printJson } from './json.ts';
import { openSession } from './session.ts';

export default defineCommand({
  build: (yargs) =>
    yargs
      .positional('uri', {
        type: 'string',
        demandOption: true,
        describe: 'What to delete: BACKEND://COLLECTION/IMAGE:TAG',
      })
      .options({
        force: { type: 'boolean', alias: 'f', describe: 'Do not ask' },
        ...JSON_OPTION,
      }),
  examples: [
    ['sregistry delete lab://demo/hello:1.0', 'Delete an image from the backend lab, after confirmation'],
  ],

  async run({ uri, force, json }, context) {
    await using session = await openSession(context);
    const { signal } = context;
    const target = await parseTarget(uri, session);
    const image = await findRemovable(session, target, signal);
    const full = session.uri(target.backend, target.name);
    if (!force && !(await isMeant(full, target.backend.target))) return 1;
    await remove(session, target, image, signal);
    if (json) printJson({ uri: full, digest: image.digest });
    else bot.data(full);
  },
});

async function isMeant(uri: string, place: string): Promise<boolean> {
  if (isInteractive()) return confirm(`Are you sure you want to remove ${uri} from ${place}?`);
  throw new SregistryError('USAGE', `Refusing to remove ${uri} without confirmation`, {
    hint: 'Pass --force, or run the command in a terminal',
  });
}
