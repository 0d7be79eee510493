/** What Docker images cost: started through the mount, pulled as a file, and while the mount does something else. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { apptainer, apptainerUnavailable } from '../../test/servers/apptainer.ts';
import { startRegistry } from '../../test/servers/docker-registry.ts';
import { digestOf, layerOf, pushLayered, tarOf } from '../../test/servers/layered.ts';
import type { Benchmark, Task, Variant } from '../harness.ts';
import { Home } from '../home.ts';
import { type LinkOptions, startLink } from '../link.ts';
import { debianImage, imageUnavailable, manyFiles } from './image.ts';

const LINK: LinkOptions = { rate: 200e6, roundTrip: 20 };
const MANY = 100_000;
const NAME = 'bench/debian:1';
/** Images whose `stat` is timed. */
const SMALL = 20;
/** Milliseconds that apptainer may take. */
const LIMIT = 600_000;

const ourselves = 'sregistry: exec through the mount';
const theirs = 'apptainer: pull and exec';
const curl = 'curl: the compressed layers';

export async function start(): Promise<Benchmark> {
  const missing = apptainerUnavailable() ?? imageUnavailable();
  const stack = new AsyncDisposableStack();
  const registry = await startRegistry({ record: false });
  stack.defer(() => registry.remove());
  const link = stack.use(await startLink(registry.port, LINK));
  const home = stack.use(new Home());
  for (const [name, host] of [
    ['lab', registry.host],
    ['far', link.host],
  ])
    await home.sregistry('backend', 'add', name as string, '--driver', 'oci', `base=http://${host}`);
  const blobs: string[] = [];
  if (missing === undefined) {
    const { layers, config } = debianImage();
    await pushLayered(registry.url, 'bench/debian', '1', layers, config);
    blobs.push(...layers.map(({ blob }) => digestOf(blob)));
  }
  await pushLayered(registry.url, 'bench/many', '1', manyFiles(MANY));
  const small = layerOf(tarOf([{ path: 'file', data: 'small' }]));
  for (let i = 0; i < SMALL; i++) await pushLayered(registry.url, `bench/small-${i}`, '1', [small]);

  const image = (backend: string) => join(home.mountpoint, backend, `${NAME}.simg`);
  const file = (name: string) => join(home.path, name);
  const clear = async () => {
    for (const name of ['ours.sif', 'theirs.sif']) rmSync(file(name), { force: true });
  };
  const beginningOf = (path: string) => home.run('head', '-c', '4', path);
  const openMany = () => beginningOf(join(home.mountpoint, 'lab/bench/many:1.simg'));
  const remount = async () => {
    await home.unmount();
    await home.mount();
  };
  const pullByApptainer = (host: string) =>
    succeed('pull', '--no-https', '--disable-cache', file('theirs.sif'), `docker://${host}/${NAME}`);

  const starts = (where: string, backend: string, host: string): Variant[] => [
    {
      name: ourselves,
      missing,
      prepare: () => home.mountEmpty(),
      run: () => succeed('exec', image(backend), 'true'),
    },
    {
      name: theirs,
      missing,
      prepare: clear,
      run: async () => {
        await pullByApptainer(host);
        await succeed('exec', file('theirs.sif'), 'true');
      },
    },
    {
      name: curl,
      missing,
      run: async () => {
        const urls = blobs.map((digest) => `http://${host}/v2/bench/debian/blobs/${digest}`);
        const outputs = urls.flatMap((url) => ['-o', '/dev/null', url]);
        await home.run('curl', '-sSfZ', ...outputs);
      },
    },
    {
      name: `sregistry: the second exec after a new mount, ${where}`,
      missing,
      prepare: async () => {
        await remount();
        await succeed('exec', image(backend), 'true');
        await remount();
      },
      run: () => succeed('exec', image(backend), 'true'),
    },
  ];

  const tasks: Task[] = [
    {
      title: 'from an empty cache to the first command, loopback',
      variants: starts('loopback', 'lab', registry.host),
      goals: [
        { of: ourselves, against: theirs, limit: 0.1 },
        { of: ourselves, against: curl },
      ],
    },
    {
      title: 'from an empty cache to the first command, 200 Mbit/s and 20 ms',
      variants: starts('link', 'far', link.host),
      goals: [
        { of: ourselves, against: curl, limit: 1.1 },
        { of: ourselves, against: theirs },
      ],
    },
    {
      title: 'pull docker:// as a SIF, loopback',
      variants: [
        {
          name: 'sregistry pull',
          missing,
          prepare: async () => {
            await home.unmount();
            rmSync(file('.cache'), { recursive: true, force: true });
            await clear();
          },
          run: async () => {
            await home.sregistry('pull', `lab://${NAME}`, '--no-cache', '--name', file('ours.sif'));
          },
        },
        {
          name: 'apptainer pull',
          missing,
          prepare: clear,
          run: () => pullByApptainer(registry.host),
        },
      ],
      goals: [{ of: 'sregistry pull', against: 'apptainer pull', limit: 0.25 }],
    },
    {
      title: '99 of 100 answers to stat, while an image is opened from an empty cache',
      unit: 'ms',
      variants: [
        {
          name: 'idle',
          prepare: () => home.mountEmpty(),
          run: () => statTimes(home, () => new Promise((resolve) => setTimeout(resolve, 3000))),
        },
        {
          name: 'a large image is opened',
          missing,
          prepare: () => home.mountEmpty(),
          run: () => statTimes(home, () => beginningOf(image('lab'))),
        },
        {
          name: `an image of ${MANY} files is opened`,
          prepare: () => home.mountEmpty(),
          run: () =>
            statTimes(home, () =>
              home.run('head', '-c', '4', join(home.mountpoint, 'lab/bench/many:1.simg')),
            ),
        },
      ],
    },
    {
      title: `an image of ${MANY} files`,
      variants: [
        { name: 'the first open', prepare: () => home.mountEmpty(), run: openMany },
        { name: 'the next open after a new mount', prepare: remount, run: openMany },
      ],
    },
    {
      title: 'how long the thread that serves the mount is busy with an open from an empty cache',
      unit: 'ms',
      variants: [
        {
          name: 'a large image',
          missing,
          prepare: () => home.mountEmpty(),
          run: () => busyWith(home, () => beginningOf(image('lab'))),
        },
        {
          name: `an image of ${MANY} files`,
          prepare: () => home.mountEmpty(),
          run: () => busyWith(home, openMany),
        },
        {
          name: `an image of ${MANY} files, the next open after a new mount`,
          prepare: remount,
          run: () => busyWith(home, openMany),
        },
      ],
    },
    {
      title: 'the most memory of the mount',
      unit: 'MiB',
      variants: [
        { name: 'idle', prepare: () => home.mountEmpty(), run: async () => home.peakMemory() / 2 ** 20 },
        {
          name: `an image of ${MANY} files was opened`,
          prepare: () => home.mountEmpty(),
          run: async () => {
            await openMany();
            return home.peakMemory() / 2 ** 20;
          },
        },
      ],
    },
  ];
  return { tasks, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

async function succeed(...args: string[]): Promise<void> {
  const { code, stderr } = await apptainer(args, { timeout: LIMIT });
  if (code !== 0) throw new Error(`apptainer ${args.join(' ')} ended with ${code}: ${stderr}`);
}

/** Milliseconds for which the thread that serves the mount is busy with something. */
async function busyWith(home: Home, during: () => Promise<unknown>): Promise<number> {
  const before = home.busyTime();
  await during();
  return home.busyTime() - before;
}

/** Milliseconds within which 99 of 100 calls of stat are answered, while something goes on. */
async function statTimes(home: Home, during: () => Promise<unknown>): Promise<number> {
  const paths = Array.from({ length: SMALL }, (_, i) => i).flatMap((i) =>
    ['sif', 'simg', 'img'].map((extension) => join(home.mountpoint, `lab/bench/small-${i}:1.${extension}`)),
  );
  // So that the service is asked for none of them any more.
  await home.run('stat', ...paths);
  const script = join(import.meta.dirname, '../../test/torture/stat-prober.ts');
  const prober: ChildProcess = fork(script, paths, { execArgv: [] });
  await during();
  const answered = once(prober, 'message') as Promise<[number[]]>;
  prober.send('tell');
  const [took] = await answered;
  const sorted = took.toSorted((a, b) => a - b);
  return sorted[Math.floor(0.99 * (sorted.length - 1))] ?? Number.NaN;
}
