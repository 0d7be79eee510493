/** Reader processes (reader.ts, looker.ts) as the coordinator sees them: started, counted, and what they found judged. */
import { join } from 'node:path';
import type { Arena } from './arena.ts';
import { add } from './counters.ts';
import type { LookerTask } from './looker.ts';
import type { ReaderTask } from './reader.ts';
import type { Finding, Report, Tally } from './reports.ts';
import { DEADLINE, type MountPoint } from './rig.ts';
import { Worker } from './workers.ts';

/**
 * Milliseconds within which a system call ends: its deadline, what it may wait for others in the same folder, and what a machine
 * with much to do may add.
 */
const PATIENCE = (DEADLINE + 20) * 1000;

export interface ReaderOptions {
  readonly mount: MountPoint;
  readonly mode: ReaderTask['mode'];
  readonly seed: string;
  readonly wrongBytes: boolean;
  /** Read each of these once; else all of them, until killed. */
  readonly once?: readonly string[];
  /** Told of each image that was read whole, and right. */
  readonly onWhole?: (path: string) => void;
}

export function startReader(arena: Arena, options: ReaderOptions): Worker {
  const { mount, mode, seed, wrongBytes, once } = options;
  const task: ReaderTask = {
    bytesSeed: arena.seed,
    seed,
    mountpoint: mount.path,
    table: arena.table,
    mode,
    tags:
      once === undefined ? readable(arena, mount) : tagsOf(arena).filter(({ path }) => once.includes(path)),
    wrongBytes,
    once: once !== undefined,
  };
  return start(arena, mount, { what: `${mode} reader`, script: 'reader.ts', task }, options.onWhole);
}

/** Looks at the same time, in each looker. */
const CONCURRENCY = 40;

export function startLooker(arena: Arena, mount: MountPoint, seed: string): Worker {
  const task: LookerTask = { seed, mountpoint: mount.path, tags: tagsOf(arena), concurrency: CONCURRENCY };
  return start(arena, mount, { what: 'looking reader', script: 'looker.ts', task });
}

/** What is removed through a mount is not open there: the registry would be asked to remove an open image after `rm` is done. */
const readable = (arena: Arena, mount: MountPoint) =>
  tagsOf(arena).filter(({ isStable }) => isStable || mount !== arena.mounts[0]);

const tagsOf = ({ tags }: Arena) => tags.map(({ path, kind }) => ({ path, isStable: kind !== 'volatile' }));

function start(
  arena: Arena,
  mount: MountPoint,
  { what, script, task }: { what: string; script: string; task: object },
  onWhole: (path: string) => void = () => {},
): Worker {
  return new Worker({
    what: `${what} on ${mount.name}`,
    mount,
    command: process.execPath,
    args: [join(import.meta.dirname, script), JSON.stringify(task)],
    env: { ...arena.rig.env, UV_THREADPOOL_SIZE: String(CONCURRENCY) },
    patience: PATIENCE,
    onLine: (line) => {
      const report = JSON.parse(line) as Report;
      if ('finding' in report) judge(arena, mount, report.finding);
      else if ('tally' in report) count(arena, report.tally);
      else onWhole(report.whole.path);
      return 'tally' in report ? report.waitingSince : undefined;
    },
  });
}

function count({ counters }: Arena, tally: Tally): void {
  counters.reads.opens += tally.opens;
  counters.reads.count += tally.reads;
  counters.reads.bytes += tally.bytes;
  counters.reads.whole += tally.whole;
  for (const [code, times] of Object.entries(tally.errors)) add(counters.readErrors, code, times);
}

/** A file that is being written shows what was written so far, as anywhere; everything else is wrong. */
function judge(arena: Arena, mount: MountPoint, { kind, path, detail, opened, read }: Finding): void {
  const tag = arena.tags.find((each) => each.path === path);
  if (tag?.isBeingWritten(mount.name, opened, read)) {
    arena.counters.unjudged += 1;
    return;
  }
  arena.violation(
    `a read is wrong (${kind})`,
    `${path} on ${mount.name} ${detail}; opened ${opened % 1_000_000}, read ${read % 1_000_000}: ${tag?.history()}`,
  );
}
