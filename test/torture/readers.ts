/** Reader processes (reader.ts) as the coordinator sees them: started, counted, and what they found judged. */
import { join } from 'node:path';
import type { Arena } from './arena.ts';
import { add } from './counters.ts';
import type { Finding, FromReader, ReaderTask, Tally } from './reader.ts';
import { DEADLINE, type MountPoint } from './rig.ts';
import { Worker } from './workers.ts';

/** Milliseconds within which a system call ends: its deadline, and what a machine with much to do may add. */
const PATIENCE = (DEADLINE + 15) * 1000;

export interface ReaderOptions {
  readonly mount: MountPoint;
  readonly mode: ReaderTask['mode'];
  readonly seed: string;
  readonly wrongBytes: boolean;
  /** Read each of these once; else all of them, until killed. */
  readonly once?: readonly string[];
  /** Told of each image that was read whole, and right. */
  readonly onWhole?: (path: string, id: number) => void;
}

export function startReader(arena: Arena, options: ReaderOptions): Worker {
  const { mount, mode, seed, wrongBytes, once, onWhole = () => {} } = options;
  const tags = arena.tags
    .filter(({ path }) => once === undefined || once.includes(path))
    .map(({ path, kind }) => ({ path, isStable: kind !== 'volatile' }));
  const task: ReaderTask = {
    bytesSeed: arena.seed,
    seed,
    mountpoint: mount.path,
    table: arena.table,
    mode,
    tags,
    wrongBytes,
    once: once !== undefined,
  };
  return new Worker({
    what: `${mode} reader on ${mount.name}`,
    mount,
    command: process.execPath,
    args: [join(import.meta.dirname, 'reader.ts'), JSON.stringify(task)],
    env: arena.rig.env,
    patience: PATIENCE,
    onLine: (line) => {
      const message = JSON.parse(line) as FromReader;
      if ('finding' in message) judge(arena, mount, message.finding);
      else if ('tally' in message) count(arena, message.tally);
      else onWhole(message.whole.path, message.whole.id);
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
