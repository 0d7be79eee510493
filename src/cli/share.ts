import { share } from '../client/share.ts';
import { bot } from '../log/index.ts';
import { parseDuration } from '../settings/environment.ts';
import { defineCommand } from './command.ts';
import { JSON_OPTION } from './json.ts';
import { openSession } from './session.ts';

export default defineCommand({
  build: (yargs) =>
    yargs
      .positional('uri', {
        type: 'string',
        demandOption: true,
        describe: 'What to share: BACKEND://COLLECTION/IMAGE:TAG',
      })
      .options({
        email: {
          type: 'string',
          requiresArg: true,
          describe: 'Person to give access to, if the service can',
        },
        expires: { type: 'string', requiresArg: true, describe: 'How long the link works: 12h, 7d' },
        ...JSON_OPTION,
      }),
  examples: [
    ['sregistry share dropbox://demo/hello:1.0', 'Print a link to an image'],
    ['sregistry share s3://demo/hello:1.0 --expires 7d', 'Print a link that works for a week'],
  ],

  async run({ uri, email, expires, json }, context) {
    const seconds = expires === undefined ? undefined : parseDuration(expires, '--expires');
    await using session = await openSession(context);
    const link = await share(session, uri, { email, expires: seconds, signal: context.signal });
    // The person asked for the link, so print its signature too.
    bot.disclose(json ? JSON.stringify({ uri, link }, null, 2) : link);
  },
});
