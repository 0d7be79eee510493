import { SregistryError } from '../base/errors.ts';
import {
  type CacheEntry,
  cacheUsage,
  listCache,
  type Pruned,
  pin,
  prune,
  type VerifyCounts,
  verify,
} from '../client/cache.ts';
import { parseTarget } from '../client/target.ts';
import { pushTrace } from '../client/traces.ts';
import { bot } from '../log/index.ts';
import { parseDuration, parseSize } from '../settings/environment.ts';
import { ARCH_OPTION } from './arch.ts';
import { defineSubcommand, type Group } from './command.ts';
import { formatAge, formatSize } from './format.ts';
import { JSON_OPTION, printJson } from './json.ts';
import { openSession } from './session.ts';

const ls = defineSubcommand({
  command: 'ls',
  describe: 'List the images and layers of images in the cache, most recently used first',
  build: (yargs) => yargs.options(JSON_OPTION),
  examples: [['sregistry cache ls', 'Show which images are cached, and how much of each']],

  async run({ json }, context) {
    await using session = await openSession(context);
    const entries = await listCache(session);
    if (json) return printJson(entries);
    bot.table(entries.map(toRow), { header: ['cached', 'of', 'used', '', 'image'], numbered: false });
  },
});

function toRow(entry: CacheEntry): string[] {
  const { bytes, size, lastUsed, pinned } = entry;
  return [formatSize(bytes), formatSize(size), formatAge(lastUsed), pinned ? 'pinned' : '', titleOf(entry)];
}

/** Images that a line names. */
const NAMED = 3;

/** The URI; for a layer also the images that use it. */
function titleOf({ uri, images }: Pick<CacheEntry, 'uri' | 'images'>): string {
  if (images === undefined) return uri;
  const more = images.length > NAMED ? ` and ${images.length - NAMED} more` : '';
  const users = images.length === 0 ? 'no image that is known' : images.slice(0, NAMED).join(', ') + more;
  // So much of a digest tells a layer from others.
  return `${uri.replace(/(:[0-9a-f]{12})[0-9a-f]*$/, '$1')} of ${users}`;
}

/** `3 images, 1 layer` */
function countOf({ images, layers }: Pick<Pruned, 'images' | 'layers'>): string {
  const parts = [`${images} ${images === 1 ? 'image' : 'images'}`];
  if (layers > 0) parts.push(`${layers} ${layers === 1 ? 'layer' : 'layers'} of images`);
  return parts.join(', ');
}

const du = defineSubcommand({
  command: 'du',
  describe: 'Show how much disk the cache uses and may use',
  build: (yargs) => yargs.options(JSON_OPTION),
  examples: [['sregistry cache du', 'Show used, allowed and free space']],

  async run({ json }, context) {
    await using session = await openSession(context);
    const usage = await cacheUsage(session);
    if (json) return printJson(usage);
    const { path, bytes, limit, pinnedBytes, free } = usage;
    bot.data(`${formatSize(bytes)} of ${formatSize(limit)} in ${path}: ${countOf(usage)}`);
    bot.data(`${formatSize(pinnedBytes)} pinned, ${formatSize(free)} free on the file system`);
  },
});

function pinning(command: string, describe: string, pinned: boolean) {
  return defineSubcommand({
    command: `${command} <uri>`,
    describe,
    build: (yargs) =>
      yargs
        .positional('uri', {
          type: 'string',
          demandOption: true,
          describe: 'BACKEND://COLLECTION/IMAGE:TAG',
        })
        .options(ARCH_OPTION),
    examples: [[`sregistry cache ${command} lab://demo/hello:1.0`, describe]],

    async run({ uri, arch }, context) {
      await using session = await openSession(context, { arch });
      bot.info(`[${command}] ${await pin(session, uri, pinned, context.signal)}`);
    },
  });
}

const pushTraceCommand = defineSubcommand({
  command: 'push-trace <uri>',
  describe: 'Store with an image what its start reads, so that it starts fast elsewhere',
  build: (yargs) =>
    yargs.positional('uri', {
      type: 'string',
      demandOption: true,
      describe: 'BACKEND://COLLECTION/IMAGE:TAG',
    }),
  examples: [['sregistry cache push-trace lab://demo/hello:1.0', 'After it was run from the mount once']],

  async run({ uri }, context) {
    await using session = await openSession(context);
    await pushTrace(session, await parseTarget(uri, session), context.signal);
    bot.info(`[push-trace] ${uri}`);
  },
});

const verifyCommand = defineSubcommand({
  command: 'verify',
  describe: 'Repair the cache, compare whole images and layers with their digests, and remove wrong ones',
  build: (yargs) => yargs.options(JSON_OPTION),
  examples: [['sregistry cache verify', 'After trouble with a disk']],

  async run({ json }, context) {
    await using session = await openSession(context);
    const images = [];
    const verification = verify(session, context.signal);
    let next = await verification.next();
    while (!next.done) {
      images.push(next.value);
      if (!json) bot.data(`${next.value.result.padEnd(12)} ${titleOf(next.value)}`);
      next = await verification.next();
    }
    if (json) printJson({ images, counts: next.value });
    else for (const line of mended(next.value)) bot.info(line);
    return images.some(({ result }) => result === 'wrong') ? 1 : 0;
  },
});

/** The lines for what each step found to do. */
function mended(counts: VerifyCounts): string[] {
  const { compare, ...steps } = counts;
  const lost = compare?.lostBlocks ?? 0;
  return Object.entries({ ...steps, ...(lost > 0 ? { compare: { lostBlocks: lost } } : {}) })
    .map(([step, done]) => [step, Object.entries(done).filter(([, count]) => count > 0)] as const)
    .filter(([, done]) => done.length > 0)
    .map(([step, done]) => `${step}: ${done.map(([name, count]) => `${count} ${name}`).join(', ')}`);
}

const pruneCommand = defineSubcommand({
  command: 'prune',
  describe: 'Remove images and layers that are neither open nor pinned',
  build: (yargs) =>
    yargs.options({
      'unused-for': {
        type: 'string',
        requiresArg: true,
        describe: 'Only images unused for this long: 12h, 7d',
      },
      'down-to': { type: 'string', requiresArg: true, describe: 'Stop when the cache is this small: 10G' },
      ...JSON_OPTION,
    }),
  examples: [
    ['sregistry cache prune', 'Empty it'],
    ['sregistry cache prune --unused-for 30d', 'Remove images that were not used for a month'],
  ],

  async run({ unusedFor, downTo, json }, context) {
    await using session = await openSession(context);
    const pruned = prune(session, {
      unusedFor: unusedFor === undefined ? undefined : parseDuration(unusedFor, '--unused-for') * 1000,
      downTo: downTo === undefined ? undefined : bytesOf(downTo),
    });
    if (json) return printJson(pruned);
    bot.data(`Removed ${countOf(pruned)}, ${formatSize(pruned.bytes)}`);
  },
});

function bytesOf(text: string): number {
  const size = parseSize(text, '--down-to');
  if ('bytes' in size) return size.bytes;
  throw new SregistryError('USAGE', '--down-to must be an amount of bytes', {
    hint: 'Write for instance 10G',
  });
}

export default {
  subcommands: [
    ls,
    du,
    pinning('pin', 'Keep an image, or its layers, in the cache until it is unpinned', true),
    pinning('unpin', 'Allow evicting an image, or its layers, from the cache again', false),
    pushTraceCommand,
    verifyCommand,
    pruneCommand,
  ],
} satisfies Group;
