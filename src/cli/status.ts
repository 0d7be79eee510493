import { existsSync } from 'node:fs';
import { SregistryError } from '../base/errors.ts';
import type { Transfer } from '../cache/cache.ts';
import { locateCache } from '../cache/location.ts';
import { listPushes, type PushSummary } from '../client/pushes.ts';
import type { MountStatus } from '../fs/control.ts';
import { mountStatuses } from '../fs/daemon.ts';
import type { MountRecord } from '../fs/mount-record.ts';
import { outdated } from '../fs/mount-version.ts';
import { bot } from '../log/index.ts';
import { getPaths } from '../settings/paths.ts';
import { defineCommand } from './command.ts';
import { formatAge, formatSize } from './format.ts';
import { JSON_OPTION, printJson } from './json.ts';
import { mountpointOf } from './mountpoint.ts';

export default defineCommand({
  build: (yargs) =>
    yargs
      .positional('mountpoint', {
        type: 'string',
        describe: 'Show only this mount',
        defaultDescription: 'all of yours',
      })
      .options(JSON_OPTION),
  examples: [
    ['sregistry status', 'Show mounts, caches and transfers'],
    ['sregistry status --json', 'The same for programs'],
  ],

  async run(args, { env }) {
    const wanted = args.mountpoint === undefined ? undefined : await mountpointOf(args.mountpoint, env);
    const { mounts, silent, dead } = await mountStatuses(env, wanted);
    if (wanted !== undefined && mounts.length + silent.length + dead.length === 0) {
      throw new SregistryError('NOT_FOUND', `No sregistry is mounted at ${wanted}`, {
        hint: 'sregistry status lists the mounts',
      });
    }
    const pushes = await pushesOf(mounts, wanted === undefined ? await ownCache(env) : undefined);
    for (const record of silent) warnOfSilence(record);
    for (const path of dead)
      bot.warning(`The process of the mount at ${path} has ended. Clear it with: sregistry unmount ${path}`);
    for (const note of mounts.map(outdated)) if (note !== undefined) bot.warning(note);
    if (args.json) printJson({ mounts, dead, pushes });
    else bot.data(describe(mounts, pushes).join('\n'));
    // A dead mount that nobody asked for may be another's.
    const failed = silent.length > 0 || (wanted !== undefined && dead.length > 0);
    return failed ? 1 : 0;
  },
});

/** Root of the cache that this environment names; undefined if it does not exist yet. */
async function ownCache(env: NodeJS.ProcessEnv): Promise<string | undefined> {
  const { cacheDir } = getPaths(env);
  return existsSync(cacheDir) ? (await locateCache(cacheDir)).root : undefined;
}

/** The caches whose journals to read. A mount may have a cache of its own. */
async function pushesOf(mounts: readonly MountStatus[], own: string | undefined): Promise<PushSummary[]> {
  const roots = new Set(mounts.map(({ cache }) => cache.path));
  if (own !== undefined) roots.add(own);
  return (await Promise.all([...roots].map(listPushes))).flat();
}

function warnOfSilence({ mountpoint, pid, log }: MountRecord): void {
  bot.warning(
    `The mount at ${mountpoint} (process ${pid}) does not answer; its log is ${log}. ` +
      `End it with: sregistry unmount --force ${mountpoint}`,
  );
}

function describe(mounts: readonly MountStatus[], pushes: readonly PushSummary[]): string[] {
  const lines = mounts.flatMap(describeMount);
  if (mounts.length === 0) lines.push('Nothing is mounted.');
  if (pushes.length > 0) lines.push('', 'Pushes:', ...pushes.flatMap(describePush));
  return lines;
}

function describeMount({ mountpoint, pid, since, ...mount }: MountStatus): string[] {
  const { backends, unreachable, log, cache, version, fetchedBytes, transfers, openFiles, open, pushing } =
    mount;
  return [
    `${mountpoint} (process ${pid}, mounted ${formatAge(since)}${version === undefined ? '' : `, version ${version}`})`,
    `  backends  ${backends.join(', ')}`,
    ...(unreachable ?? []).map(
      ({ backend, since, error }) => `  no answer ${backend}, first ${formatAge(since)}: ${error}`,
    ),
    `  cache     ${formatSize(cache.bytes)} of ${formatSize(cache.limit)} in ${cache.path}`,
    `  network   ${formatSize(fetchedBytes)} fetched, ${transfers.length} transfers, ${pushing} pushes`,
    ...(log ? [`  log       ${log}`] : []),
    `  in use    ${openFiles} open files`,
    ...describeOpen(open),
    ...(transfers as Transfer[]).map(
      ({ uri, cached, size }) => `  fetching  ${uri}, ${formatSize(cached)} of ${formatSize(size)}`,
    ),
  ];
}

/** Number of a mount's open files to list. */
const OPEN_SHOWN = 10;

function describeOpen(open: MountStatus['open']): string[] {
  const lines = new Set(open.map(({ path, writing }) => `  ${writing ? 'writing ' : 'reading '}  ${path}`));
  const shown = [...lines].slice(0, OPEN_SHOWN);
  return lines.size > OPEN_SHOWN ? [...shown, `            and ${lines.size - OPEN_SHOWN} more`] : shown;
}

function describePush({ uri, state, bytes, size, error, hint, updated }: PushSummary): string[] {
  const sent = state === 'pushing' ? `${formatSize(bytes)} of ${formatSize(size)}` : formatSize(size);
  return [
    `  ${state.padEnd(10)} ${uri}, ${sent}, ${formatAge(updated)}`,
    ...[error, hint].filter((text) => text !== undefined).map((text) => `             ${text}`),
  ];
}
