/**
 * What has to hold when a round is over, faults are off and everybody has gone: named steps, in this order. A step that looks at
 * something tells `arena.violation` of what is wrong and goes on.
 */
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { logPath } from '../../src/fs/mount-record.ts';
import { mountedPaths } from '../../src/fs/mountpoint.ts';
import type { Arena } from './arena.ts';
import { add } from './counters.ts';
import type { Tag, Value } from './model.ts';
import type { MountPoint, PushStatus } from './rig.ts';
import { readState } from './state-file.ts';

/** Milliseconds for what goes on in the background to come to its end. */
const REST = 20_000;
/** Milliseconds for pushes that were kept, when nothing stands in their way. */
const PUSH_LIMIT = 60_000;
/** Bytes the files beside an image's data may take, for each image, and what accounting may be off by in all. */
const ENTRY_EXTRA = 32 * 1024;
const SLACK = 1024 * 1024;

/** States of pushes that wait for somebody, and not for the registry. */
const WAITING = new Set(['incomplete', 'refused']);

/** Repeats `look` until it finds nothing, or for `limit` milliseconds; what it found last. */
async function settled<T>(limit: number, look: () => T[] | Promise<T[]>): Promise<T[]> {
  const deadline = Date.now() + limit;
  for (;;) {
    const found = await look();
    if (found.length === 0 || Date.now() > deadline) return found;
    await sleep(250);
  }
}

/** Files of the cache that a mount has open while nobody has one open in it; a file that waits to be pushed may be. */
export async function checkDescriptors(arena: Arena): Promise<void> {
  const { rig } = arena;
  const folders = ['images', 'staging', 'trash'].map((folder) => join(rig.cache, folder));
  for (const mount of arena.mounts) {
    const left = await settled(REST, () => {
      const waiting = new Set(readState(rig.cache)?.staged);
      return descriptorsOf(mount).filter(
        (path) => folders.some((folder) => path.startsWith(folder)) && !waiting.has(path),
      );
    });
    if (left.length > 0) {
      arena.violation(
        'descriptors are left',
        `${mount.name} has ${left.length} open: ${left.slice(0, 5).join(', ')}`,
      );
    }
  }
}

function descriptorsOf({ pid }: MountPoint): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      try {
        return readlinkSync(`/proc/${pid}/fd/${fd}`);
      } catch {
        return [];
      }
    });
  } catch {
    return [];
  }
}

/** Unmounts politely; nobody is there, so that has to work, and leave nothing. */
export async function unmountAll(arena: Arena): Promise<void> {
  for (const mount of arena.mounts) {
    const { code, stdout, stderr } = await mount.unmount();
    if (code !== 0) {
      const inUse = JSON.stringify((await arena.rig.status()).mounts);
      arena.violation(
        'unmount fails',
        `${mount.name}, which nobody uses (${inUse}): ${code}: ${stderr}${stdout}`,
      );
      await mount.unmount('--force');
    }
    if (await mount.ended()) continue;
    arena.violation('a mount does not end', `${mount.name} (process ${mount.pid}), long after unmount`);
    await mount.destroy();
  }
  await checkNothingRuns(arena);
}

async function checkNothingRuns(arena: Arena): Promise<void> {
  const { rig } = arena;
  const processes = await settled(5_000, () => rig.processes());
  for (const { pid, command } of processes) {
    arena.violation('a process is left', `${pid} ${command}`);
    process.kill(pid, 'SIGKILL');
  }
  const mounted = (await mountedPaths()).filter((path) => path.startsWith(rig.home));
  for (const path of mounted) {
    arena.violation('a mount is left', path);
    await rig.run('fusermount3', ['-uz', path]);
  }
  for (const name of namesIn(rig.runtime)) {
    arena.violation('a file in the runtime directory is left', name);
    await rm(join(rig.runtime, name), { recursive: true, force: true });
  }
}

export async function mountAll(arena: Arena): Promise<void> {
  // The last one first: it may not remove images, so what it takes over can be cleared away through it.
  for (const mount of [...arena.mounts].reverse()) {
    const { code, stdout, stderr } = await mount.mount();
    if (code !== 0 || !mount.isUp)
      arena.violation('a mount does not come back', `${mount.name}: ${code}: ${stderr}${stdout}`);
  }
}

/** The pushes that are left when the mounts have done theirs. */
export async function finishPushes(arena: Arena): Promise<PushStatus[]> {
  let left: readonly PushStatus[] = [];
  const unfinished = await settled(PUSH_LIMIT, async () => {
    left = (await arena.rig.status()).pushes;
    return left.filter(({ state }) => !WAITING.has(state));
  });
  for (const push of unfinished)
    arena.violation('a push is not done by the next mount', JSON.stringify(push));
  for (const { state } of left) add(arena.counters.listed, state);
  return [...left];
}

/** Each tag holds what the rules allow; what was whole is there or listed. Then that is what it holds. */
export async function checkTags(arena: Arena, left: readonly PushStatus[]): Promise<void> {
  for (const tag of arena.tags) {
    const from = Date.now();
    const value = await arena.valueOf(tag);
    if (typeof value === 'string' && value !== 'absent') {
      arena.violation('a tag holds what nobody meant', `${tag.uri} has ${value}: ${tag.history()}`);
      await arena.restore(tag);
      continue;
    }
    if (!tag.mayBe(value, from, Date.now()))
      arena.violation(`${nameOf(tag, value)} is there at last`, `${tag.uri} is ${value}: ${tag.history()}`);
    const lost = tag.lostUnder(value);
    if (lost !== undefined && !left.some(({ uri }) => uri === tag.uri))
      arena.violation('a whole file is lost', `${tag.uri} is ${value}, not ${lost.value}: ${tag.history()}`);
    const late = tag.writes.find((write) => write.value === value);
    if (late !== undefined && late.acked !== true) arena.counters.pushedLater += 1;
    tag.settle(value);
  }
  arena.renewTable();
}

/** What a value is that a tag must not have. */
function nameOf(tag: Tag, value: Value): string {
  if (!tag.possible.includes(value)) return 'what was meant for another tag';
  return tag.isFromAnotherMount(value) ? 'an older write through another mount' : 'an older write';
}

/** Drops what writers left in part, as its user would. */
export async function clearLeftovers(arena: Arena, left: readonly PushStatus[]): Promise<void> {
  const mount = arena.mounts.at(-1) as MountPoint;
  for (const { uri, state } of left) {
    if (state === 'refused') continue;
    const tag = arena.tags.find((each) => each.uri === uri);
    const path = tag?.path ?? uri.replace('://', '/');
    await arena.rig.run('rm', ['-f', join(mount.path, path)]);
  }
}

/** `sregistry cache verify` finds nothing wrong, and after it nothing of the dead is left. */
export async function checkCache(arena: Arena): Promise<void> {
  const { rig } = arena;
  const { code, stdout, stderr } = await rig.sregistry('cache', 'verify', '--json');
  if (code !== 0)
    arena.violation(
      'cache verify finds faults',
      `${code}: ${stderr}${stdout.replaceAll(/\s+/g, ' ').slice(0, 2000)}`,
    );
  const pids = new Set(arena.mounts.map(({ pid }) => pid));
  const state = readState(rig.cache);
  const dead = (state?.owned ?? []).filter(({ pid }) => !pids.has(pid));
  if (dead.length > 0) {
    const [{ table, row } = { table: '', row: '' }] = dead;
    arena.violation('rows of dead processes are left', `${dead.length}, such as ${table} ${row}`);
  }
  const strays = await settled(5_000, () => strayStaged(rig.cache));
  for (const name of strays) arena.violation('a staged file without a record is left', name);
  const rubbish = await settled(5_000, () => namesIn(join(rig.cache, 'trash')));
  if (rubbish.length > 0) arena.violation('trash is left', rubbish.join(', '));
  checkSize(arena);
}

function strayStaged(cache: string): string[] {
  const staged = readState(cache)?.staged ?? [];
  const known = staged.map((path) => path.split('/').at(-1) ?? '');
  return namesIn(join(cache, 'staging')).filter((name) => !known.some((record) => name.startsWith(record)));
}

/** What images take on disk is within the limit. Can be asked at any time. */
export function checkSize(arena: Arena): void {
  const { rig } = arena;
  const { bytes, entries } = usage(join(rig.cache, 'images'));
  if (bytes <= rig.limits.size + SLACK + entries * ENTRY_EXTRA) return;
  arena.violation(
    'the cache is too large',
    `${bytes} bytes on disk in ${entries} images, ${rig.limits.size} allowed`,
  );
}

function usage(folder: string): { bytes: number; entries: number } {
  let bytes = 0;
  let entries = 0;
  for (const shelf of namesIn(folder)) {
    for (const key of namesIn(join(folder, shelf))) {
      entries += 1;
      for (const name of namesIn(join(folder, shelf, key))) {
        const stats = statSync(join(folder, shelf, key, name), { throwIfNoEntry: false });
        bytes += (stats?.blocks ?? 0) * 512;
      }
    }
  }
  return { bytes, entries };
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/** The last lines of a mount's log, for a report. */
export function logTail(arena: Arena, mount: MountPoint, lines = 15): string {
  try {
    const text = readFileSync(logPath(arena.rig.logs, mount.path), 'utf8');
    return text.trimEnd().split('\n').slice(-lines).join('\n');
  } catch {
    return '';
  }
}
