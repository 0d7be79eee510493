import { SregistryError } from '../base/errors.ts';
import { inspect, inspectAll, inspectParts, listFiles } from '../client/inspect.ts';
import { signaturesOf } from '../client/signatures.ts';
import type { Attributes } from '../image/attributes.ts';
import { formatAttributes, type Selection, selectAttributes } from '../image/inspect-view.ts';
import type { Signature } from '../image/signatures.ts';
import type { FileEntry } from '../image/squashfs/filesystem.ts';
import { bot } from '../log/index.ts';
import { ARCH_OPTION } from './arch.ts';
import { defineCommand } from './command.ts';
import { formatFile, formatMode, formatSigned, formatTime } from './format.ts';
import { JSON_OPTION, printJson } from './json.ts';
import { openSession } from './session.ts';

const SAYS = 'What the image says of itself, as apptainer inspect shows it:';
const INSIDE = 'What the image contains:';

/** The flags that show one part, and the parts' names. */
const PARTS = {
  labels: 'labels',
  deffile: 'deffile',
  runscript: 'runscript',
  startscript: 'startscript',
  environment: 'environment',
  helpfile: 'helpfile',
  test: 'test',
  listApps: 'apps',
} as const;

type Parts = Partial<Record<keyof typeof PARTS, boolean | undefined>>;

export default defineCommand({
  build: (yargs) =>
    yargs
      .positional('image', {
        type: 'string',
        demandOption: true,
        describe: 'BACKEND://COLLECTION/IMAGE:TAG, the path of a file, or a name in the library',
      })
      .positional('path', { type: 'string', describe: 'With --files: list the files below this path' })
      .options({
        labels: { type: 'boolean', alias: 'l', group: SAYS, describe: 'Labels' },
        deffile: {
          type: 'boolean',
          alias: 'd',
          group: SAYS,
          describe: 'The definition file it was built from',
        },
        runscript: { type: 'boolean', alias: 'r', group: SAYS, describe: 'What "run" runs' },
        startscript: { type: 'boolean', alias: 's', group: SAYS, describe: 'What "instance start" runs' },
        environment: { type: 'boolean', alias: 'e', group: SAYS, describe: 'The environment it sets' },
        helpfile: { type: 'boolean', alias: 'H', group: SAYS, describe: 'Its help' },
        test: { type: 'boolean', alias: 't', group: SAYS, describe: 'Its test' },
        'list-apps': { type: 'boolean', group: SAYS, describe: 'The apps in it' },
        app: {
          type: 'string',
          requiresArg: true,
          group: SAYS,
          describe: 'Show these parts of this app instead',
        },
        all: { type: 'boolean', group: SAYS, describe: 'All of these, as JSON' },
        files: { type: 'boolean', group: INSIDE, describe: 'List the files in it' },
        signatures: { type: 'boolean', group: INSIDE, describe: 'Who signed it; sregistry verify checks it' },
        ...ARCH_OPTION,
        json: { ...JSON_OPTION.json, alias: 'j' },
      })
      .conflicts('files', ['signatures', 'all', 'app', ...Object.keys(PARTS)])
      .conflicts('signatures', ['all', 'app', ...Object.keys(PARTS)]),
  examples: [
    ['sregistry inspect lab://demo/hello:1.0', 'Show all that is known of an image, without pulling it'],
    ['sregistry inspect hello.sif --deffile', 'Show the definition of a file, without Singularity'],
    ['sregistry inspect lab://demo/hello:1.0 --files /opt', 'List files in an image, without mounting it'],
  ],

  async run(args, context) {
    const { image, path, arch, json, all, files, signatures } = args;
    const { signal } = context;
    if (path !== undefined && !files)
      throw new SregistryError('USAGE', 'A path in the image needs --files', {
        hint: `sregistry inspect ${image} --files ${path}`,
      });
    await using session = await openSession(context, { arch });
    const selection = selectionOf(args);
    if (files) await printFiles(listFiles(session, image, path, signal), json);
    else if (signatures) printSignatures(await signaturesOf(session, image, signal), json);
    else if (all) printJson(await inspectAll(session, image, signal));
    else if (selection === undefined) printJson(await inspect(session, image, signal));
    else printParts(await inspectParts(session, image, selection, signal), selection, json);
  },
});

/** Undefined if no part was asked for. */
function selectionOf(args: Parts & { app?: string | undefined }): Selection | undefined {
  const flags = Object.keys(PARTS) as (keyof typeof PARTS)[];
  const sections = flags.filter((flag) => args[flag]).map((flag) => PARTS[flag]);
  return sections.length === 0 && args.app === undefined ? undefined : { sections, app: args.app };
}

function printParts(attributes: Attributes, selection: Selection, json: boolean | undefined): void {
  const text = formatAttributes(attributes, selection);
  if (json) printJson({ data: { attributes: selectAttributes(attributes, selection) }, type: 'container' });
  else if (text !== '') bot.data(text);
}

async function printFiles(files: AsyncIterable<FileEntry>, json: boolean | undefined): Promise<void> {
  if (!json) {
    for await (const file of files) bot.data(formatFile(file));
    return;
  }
  const all = await Array.fromAsync(files);
  printJson(all.map(({ mode, ...file }) => ({ ...file, mode: formatMode(mode) })));
}

function printSignatures(signatures: readonly Signature[], json: boolean | undefined): void {
  const header = ['signs', 'key', 'signed'];
  const rows = signatures.map(({ signs, fingerprint, created }) => [
    formatSigned(signs),
    fingerprint,
    formatTime(created),
  ]);
  if (json) printJson(signatures);
  else if (signatures.length === 0) bot.info('It is not signed');
  else bot.table(rows, { header, numbered: false });
}
