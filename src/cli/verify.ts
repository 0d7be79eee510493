import { verifyImage } from '../client/signatures.ts';
import { bot } from '../log/index.ts';
import { ARCH_OPTION } from './arch.ts';
import { defineCommand } from './command.ts';
import { formatSigned } from './format.ts';
import { JSON_OPTION, printJson } from './json.ts';
import { progressBar } from './progress.ts';
import { openSession } from './session.ts';

export default defineCommand({
  build: (yargs) =>
    yargs
      .positional('image', {
        type: 'string',
        demandOption: true,
        describe: 'BACKEND://COLLECTION/IMAGE:TAG, the path of a file, or a name in the library',
      })
      .options({
        keyring: {
          type: 'string',
          demandOption: true,
          requiresArg: true,
          describe: 'File of PGP public keys, from apptainer key export or gpg --export',
        },
        ...ARCH_OPTION,
        ...JSON_OPTION,
      }),
  examples: [
    [
      'sregistry verify lab://demo/hello:1.0 --keyring keys.asc',
      'Verify an image of a registry; exits with 0 if it verifies, else with 1',
    ],
    [
      'sregistry verify hello.sif --keyring ~/.apptainer/keys/pgp-public',
      'Verify a file with Apptainer’s own keys',
    ],
  ],

  async run({ image, keyring, arch, json }, context) {
    await using session = await openSession(context, { arch });
    using bar = progressBar(image);
    const options = { progress: bar.progress, signal: context.signal };
    const { verified, signatures, reason } = await verifyImage(session, image, keyring, options);
    if (json) printJson({ verified, reason, signatures });
    else {
      const header = ['state', 'signs', 'key', 'signer', 'reason'];
      const rows = signatures.map((each) => [
        each.state,
        formatSigned(each.signs),
        each.fingerprint,
        each.signer.join(', '),
        each.reason,
      ]);
      bot.table(rows, { header, numbered: false });
      if (verified) bot.info(`${image} is verified: ${reason}`);
      else bot.warning(`${image} is not verified: ${reason}`);
    }
    return verified ? 0 : 1;
  },
});
