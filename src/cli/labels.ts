import { listLabels } from '../client/labels.ts';
import { bot } from '../log/index.ts';
import { defineCommand } from './command.ts';
import { JSON_OPTION, printJson } from './json.ts';
import { openSession } from './session.ts';

export default defineCommand({
  build: (yargs) =>
    yargs.options({
      key: { type: 'string', alias: 'k', requiresArg: true, describe: 'Only labels of this name' },
      value: { type: 'string', alias: 'v', requiresArg: true, describe: 'Only labels of this value' },
      ...JSON_OPTION,
    }),
  examples: [['sregistry labels --key maintainer', 'Who maintains which image']],

  async run({ key, value, json }, context) {
    await using session = await openSession(context);
    const found = await listLabels(session, { key, value }, context.signal);
    if (json) printJson(found);
    else
      bot.table(
        found.map((use) => [use.key, use.value, use.images.join(' ')]),
        { header: ['key', 'value', 'images'] },
      );
  },
});
