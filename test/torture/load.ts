/**
 * `npm run torture:load -- --minutes N [--json FILE] [--large MEBIBYTES]`: a mount of a healthy registry under a steady load of 64
 * readers and 4 writers on 20 images. Prints descriptors and memory of the mount's process after the first minute and at the end;
 * then how long `stat` of a cached file takes while one large image is fetched and verified and another one is pushed.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { startRegistry } from '../servers/docker-registry.ts';
import { Bytes } from './content.ts';
import { Random } from './random.ts';
import { MountPoint, Rig } from './rig.ts';
import { ociService } from './services.ts';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    json: { type: 'string' },
    large: { type: 'string', default: '700' },
  },
});

const MIB = 1024 * 1024;
const IMAGES = 20;
const READERS = 64;
/** The readers share processes: what is measured is the mount, not how many processes a machine can run. */
const READER_PROCESSES = 4;
const WRITERS = 4;
const MINUTE = 60_000;
/** Milliseconds between two writes of one writer. */
const WRITE_PAUSE = 1_000;
const SIZES = [1 * MIB, 16 * MIB] as const;
const CACHE = { size: 8 * 1024 * MIB, minFree: 0 };

const random = new Random('load');
const bytes = new Bytes('load');
const rig = new Rig();
rig.limits = CACHE;
const mount = new MountPoint(rig, 'mnt', []);
const registry = await startRegistry({ record: false });
const service = ociService(registry.url, 'lab');
let contents = 0;

const pathOf = (image: string, extension = 'sif') => join(mount.path, `lab/demo/${image}:1.${extension}`);
const images = Array.from({ length: IMAGES }, (_, index) => `image-${index}`);

try {
  const result = await measure();
  console.log(JSON.stringify(result, null, 2));
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(result, null, 2)}\n`);
} finally {
  await mount.destroy();
  await registry.remove();
  rig.remove();
}

async function measure() {
  await rig.ok('backend', 'add', 'lab', '--driver', 'oci', `base=${registry.url}`);
  for (const image of images) await publish(image, random.integer(...SIZES));
  const { code, stderr } = await mount.mount();
  if (code !== 0) throw new Error(`mount ended with ${code}: ${stderr}`);
  const load = await steadyLoad(Number(values.minutes) * MINUTE);
  return { load, stat: await statWhileBusy(Number(values.large) * MIB) };
}

async function publish(image: string, size: number): Promise<void> {
  contents += 1;
  await service.put(image, Buffer.concat([...bytes.pieces({ id: contents, size })]));
}

/** Writes a content to a file outside the mount. */
function sourceOf(size: number): string {
  contents += 1;
  const path = join(rig.home, 'src', `${contents}.sif`);
  bytes.write({ id: contents, size }, path);
  return path;
}

async function steadyLoad(duration: number) {
  const end = Date.now() + duration;
  const readers = Array.from({ length: READER_PROCESSES }, (_, index) =>
    start('load-readers.ts', [
      `load/${index}`,
      String(READERS / READER_PROCESSES),
      ...images.map((i) => pathOf(i)),
    ]),
  );
  const failures: string[] = [];
  for (const reader of readers)
    reader.once(
      'exit',
      (code, signal) => signal !== 'SIGKILL' && failures.push(`readers ended with ${code}`),
    );
  let writes = 0;
  const writers = Array.from({ length: WRITERS }, async (_, index) => {
    while (Date.now() < end) {
      const source = sourceOf(random.integer(1 * MIB, 4 * MIB));
      const { code, stderr } = await rig.run('cp', [source, pathOf(`writer-${index}`)]);
      rmSync(source);
      if (code === 0) writes += 1;
      else failures.push(stderr);
      await sleep(WRITE_PAUSE);
    }
  });
  const samples: Sample[] = [];
  while (Date.now() < end) {
    await sleep(Math.min(MINUTE, Math.max(0, end - Date.now())));
    samples.push(sample());
    console.error(JSON.stringify(samples.at(-1)));
  }
  await Promise.all(writers);
  for (const reader of readers) await kill(reader);
  return {
    minutes: duration / MINUTE,
    afterFirstMinute: samples[0],
    atEnd: samples.at(-1),
    writes,
    failures,
  };
}

interface Sample {
  readonly at: string;
  readonly descriptors: number;
  readonly rssMebibytes: number;
}

function sample(): Sample {
  const status = readFileSync(`/proc/${mount.pid}/status`, 'utf8');
  return {
    at: new Date().toISOString(),
    descriptors: readdirSync(`/proc/${mount.pid}/fd`).length,
    rssMebibytes: Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024),
  };
}

async function statWhileBusy(size: number) {
  await publish('large', size);
  const source = sourceOf(size);
  // By each of its names, so that the kernel has forgotten one before its turn comes again.
  const paths = images.flatMap((image) =>
    ['sif', 'simg', 'img'].map((extension) => pathOf(image, extension)),
  );
  const quiet = await latencies(paths, sleep(5_000));
  const began = Date.now();
  const seconds = () => (Date.now() - began) / 1000;
  const tasks = Promise.all([
    rig
      .run('bash', ['-c', `cat '${pathOf('large')}' > /dev/null`])
      .then(({ code }) => ({ code, seconds: seconds() })),
    rig.run('cp', [source, pathOf('pushed')]).then(({ code }) => ({ code, seconds: seconds() })),
  ]);
  const busy = await latencies(paths, tasks);
  const [read, push] = await tasks;
  return { mebibytes: size / MIB, read, push, quiet, busy };
}

/** Milliseconds that `stat` takes while something goes on. */
async function latencies(paths: readonly string[], during: Promise<unknown>) {
  const prober = start('stat-prober.ts', paths);
  await during;
  const answered = once(prober, 'message') as Promise<[number[]]>;
  prober.send('tell');
  const [took] = await answered;
  const sorted = took.toSorted((one, other) => one - other);
  const quantile = (part: number) => round(sorted[Math.floor(part * (sorted.length - 1))] ?? 0);
  return { count: sorted.length, p50: quantile(0.5), p99: quantile(0.99), max: quantile(1) };
}

function round(milliseconds: number): number {
  return Math.round(milliseconds * 100) / 100;
}

function start(script: string, args: readonly string[]): ChildProcess {
  return fork(join(import.meta.dirname, script), args, {
    env: { ...rig.env, UV_THREADPOOL_SIZE: String(READERS / READER_PROCESSES) },
    execArgv: [],
  });
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
}
