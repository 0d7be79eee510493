/**
 * A process that looks names up in a mount, many at once: images that are there, folders, and names that nobody has. Each look asks
 * a registry, so this is what meets most faults. What is there must not be missing, and what is not there must not appear.
 */
import { constants } from 'node:fs';
import { mkdir, readdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Random } from './random.ts';
import {
  codeOf,
  emit,
  emptyTally,
  isMountedAt,
  isThereAgain,
  type ReadTag,
  TALLY_INTERVAL,
} from './reports.ts';

export interface LookerTask {
  readonly seed: string;
  readonly mountpoint: string;
  readonly tags: readonly ReadTag[];
  /** Looks at the same time. At most `UV_THREADPOOL_SIZE` of them are in the kernel. */
  readonly concurrency: number;
}

/** Milliseconds between a look and the next: without faults they would take all of the machine. */
const PAUSE = 20;
/**
 * How many of the looks are at what is there, and how often at which. The kernel looks up one name of a folder at a time, so that
 * too many in one folder wait for each other: names that nobody has are looked for in a folder of each looker's own.
 */
const KNOWN_LOOKERS = 3;
const KNOWN = { image: 10, folder: 1 };

/** Looks after which a looker makes its folder anew: a mount that came back has forgotten it, and asks nothing of what is in it. */
const FOLDER_INTERVAL = 20;

/** How often nothing is looked for in the first registry. */
const NEAR = 0.7;

/** Where a registry cannot be asked, a writable mount shows what may be there with this mode, so that it can be written. */
const UNSEEN = constants.S_IWUSR;

const task = JSON.parse(process.argv[2] ?? '{}') as LookerTask;
const random = new Random(task.seed);
const folders = [...new Set(task.tags.map(({ path }) => join(path, '..')))];
const backends = [...new Set(folders.map((folder) => dirname(folder)))];
let tally = emptyTally();
let looks = 0;
/** When looks began that have not ended. */
const underWay = new Map<number, number>();

setInterval(() => {
  emit({ tally, waitingSince: underWay.size > 0 ? Math.min(...underWay.values()) : undefined });
  tally = emptyTally();
}, TALLY_INTERVAL);
for (let i = 0; i < task.concurrency; i++) void lookOn(i);

async function lookOn(which: number): Promise<void> {
  for (;;) {
    underWay.set(which, Date.now());
    try {
      if (which >= KNOWN_LOOKERS) await lookAtNothing(which);
      else if (random.weighted(KNOWN) === 'image') await lookAtImage(random.pick(task.tags));
      else await readdir(join(task.mountpoint, random.pick(folders)));
      tally.opens += 1;
    } catch (error) {
      tally.errors[codeOf(error)] = (tally.errors[codeOf(error)] ?? 0) + 1;
    }
    underWay.delete(which);
    await sleep(PAUSE);
  }
}

async function lookAtImage({ path, isStable }: ReadTag): Promise<void> {
  const wasMounted = isMountedAt(task.mountpoint);
  const opened = Date.now();
  try {
    await stat(join(task.mountpoint, path));
  } catch (error) {
    const isMissing = codeOf(error) === 'ENOENT' && isStable && wasMounted && isMountedAt(task.mountpoint);
    if (isMissing && !isThereAgain(join(task.mountpoint, path)) && isMountedAt(task.mountpoint))
      emit({
        finding: { kind: 'absent', path, detail: 'ENOENT of an image that exists', opened, read: Date.now() },
      });
    throw error;
  }
}

async function lookAtNothing(which: number): Promise<void> {
  looks += 1;
  // An OCI registry answers ten times as fast as the imitation of S3.
  const backend = random.chance(NEAR) ? (backends[0] ?? '') : random.pick(backends);
  const folder = join(backend, `nowhere-${which}`);
  if (random.integer(0, FOLDER_INTERVAL) === 0) await makeFolder(join(task.mountpoint, folder));
  const path = join(folder, `none-${process.pid}-${looks}:1.sif`);
  const opened = Date.now();
  try {
    const { mode, size } = await stat(join(task.mountpoint, path));
    if ((mode & 0o777) === UNSEEN) return;
    const detail = `an image of ${size} bytes, mode ${mode.toString(8)}, that nobody made`;
    emit({ finding: { kind: 'phantom', path, detail, opened, read: Date.now() } });
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error;
  }
}

async function makeFolder(folder: string): Promise<void> {
  await mkdir(folder).catch((error) => {
    if (codeOf(error) !== 'EEXIST') throw error;
  });
}
