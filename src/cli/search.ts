import { SregistryError } from '../base/errors.ts';
import { LOCAL } from '../client/images.ts';
import { type FoundImage, type SearchFailure, search, summarize } from '../client/search.ts';
import { removeUri, uriScheme } from '../image/names.ts';
import { bot } from '../log/index.ts';
import { defineCommand } from './command.ts';
import { formatSize, formatTime } from './format.ts';
import { JSON_OPTION, printJson } from './json.ts';
import { openSession } from './session.ts';

export default defineCommand({
  build: (yargs) =>
    yargs
      .positional('query', {
        type: 'string',
        array: true,
        default: [] as string[],
        defaultDescription: 'everything',
        describe: 'A part of the name, a pattern of it such as "demo/*:1.*", or words',
      })
      .options({
        backend: {
          type: 'string',
          array: true,
          nargs: 1,
          describe: 'Search this backend only; may be given several times',
        },
        label: {
          type: 'string',
          array: true,
          nargs: 1,
          describe: 'Only images with this label, KEY=VALUE; may be given several times',
        },
        offline: {
          type: 'boolean',
          describe: 'Ask no service; search images seen before and those on this machine',
        },
        ...JSON_OPTION,
      }),
  examples: [
    ['sregistry search numpy', 'Search by a part of the name, or a word in labels, definition or help'],
    ['sregistry search "demo/*" --backend lab --json', 'List a whole collection as JSON'],
    ['sregistry search --label org.label-schema.build-arch=arm64', 'By a label'],
  ],

  async run({ query: words, backend, label = [], offline, json }, context) {
    const query = words.join(' ');
    await using session = await openSession(context);
    const scheme = uriScheme(query);
    const images: object[] = [];
    const { searched, failures } = await search(session, {
      query: removeUri(query),
      labels: Object.fromEntries(label.map(parseLabel)),
      backends: backend ?? (scheme === undefined ? undefined : [scheme]),
      offline,
      signal: context.signal,
      found(image, from, seen) {
        const found = summarize(session, image, from, seen);
        if (json) images.push(found);
        else printRow(found);
      },
    });
    if (json) printJson(images);
    context.signal.throwIfAborted();
    warnOf(searched, failures);
    const hasTrouble = failures.length > 0 || session.problems.length > 0;
    // The library on this machine always answers, so its answer does not count.
    return hasTrouble && searched.every((name) => name === LOCAL) ? 1 : 0;
  },
});

/** Warns about backends that failed. Throws if the only backend to search failed. */
function warnOf(searched: readonly string[], failures: readonly SearchFailure[]): void {
  const [first, ...more] = failures;
  if (first !== undefined && searched.length === 0 && more.length === 0) throw first.error;
  for (const { backend, error } of failures)
    bot.warning(new SregistryError('SERVICE', `${backend} could not be searched`, { cause: error }));
}

function parseLabel(label: string): [string, string] {
  const [, key, value] = /^([^=]+)=(.*)$/s.exec(label) ?? [];
  if (key === undefined || value === undefined)
    throw new SregistryError('USAGE', `"${label}" is not a label`, { hint: 'Write --label KEY=VALUE' });
  return [key, value];
}

/** Images come one by one, so the columns have fixed widths. A size of 0 is one that the service does not tell. */
function printRow({ size, modified, uri, seen }: FoundImage): void {
  const row = [formatSize(size || undefined).padStart(8), formatTime(modified).padEnd(16), uri];
  bot.table([seen === undefined ? row : [...row, `(seen ${formatTime(seen)})`]], { numbered: false });
}
