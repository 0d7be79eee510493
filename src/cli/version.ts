import { version } from '../base/version.ts';
import { bot } from '../log/index.ts';
import { defineCommand } from './command.ts';
import { JSON_OPTION, printJson } from './json.ts';

export default defineCommand({
  build: (yargs) => yargs.options(JSON_OPTION),
  examples: [['sregistry version', 'Print the version']],

  async run({ json }) {
    if (json) printJson({ version, node: process.versions.node });
    else bot.data(version);
  },
});
