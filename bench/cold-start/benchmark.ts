/**
 * How long the first command in an image takes that is not on this machine: `apptainer exec IMAGE true` after the mount, over a link
 * whose rate all connections share. The image is a SIF of 700 MB.
 */
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { apptainer, apptainerUnavailable } from '../../test/servers/apptainer.ts';
import { startRegistry } from '../../test/servers/docker-registry.ts';
import { largeImage } from '../../test/servers/images.ts';
import type { Benchmark, Task } from '../harness.ts';
import { Home } from '../home.ts';
import { type LinkOptions, startLink } from '../link.ts';

const LINK: LinkOptions = { rate: 200e6, roundTrip: 20 };
const MEBIBYTES = 700;
const NAME = 'bench/large:1';
/** The same image, with a trace. */
const TRACED = 'bench/traced:1';
/** Milliseconds that apptainer may take. */
const LIMIT = 600_000;

const first = 'sregistry: the first start';
const evicted = 'sregistry: the next start, of an image that was evicted';
const pushed = 'sregistry: the first start, of an image with a trace';
const local = 'the local file';
const pulled = 'apptainer: pull and exec';

export async function start(): Promise<Benchmark> {
  const missing = apptainerUnavailable();
  const stack = new AsyncDisposableStack();
  const registry = await startRegistry();
  stack.defer(() => registry.remove());
  const link = stack.use(await startLink(registry.port, LINK));
  const home = stack.use(new Home());
  const far = `http://${link.host}`;
  await home.sregistry('backend', 'add', 'far', '--driver', 'oci', `base=${far}`);
  await home.sregistry('backend', 'add', 'near', '--driver', 'oci', `base=${registry.url}`);
  const file = missing === undefined ? await largeImage(MEBIBYTES) : '';
  if (missing === undefined) await home.sregistry('push', file, '--name', `near://${NAME}`);
  const image = join(home.mountpoint, 'far', `${NAME}.sif`);
  const traced = join(home.mountpoint, 'far', `${TRACED}.sif`);
  let isTraced = false;
  /** Stores the image with the trace of a start. */
  const pushTraced = async () => {
    if (isTraced) return;
    isTraced = true;
    await home.mountEmpty();
    await home.sregistry('push', file, '--name', `near://${TRACED}`);
    await succeed('exec', traced, 'true');
    await home.unmount();
    await home.sregistry('cache', 'push-trace', `near://${TRACED}`);
  };
  const copy = join(home.path, 'theirs.sif');

  /** Tells what the registry was asked for during a start: the log is one line for each request. */
  const tellRequests = async (what: string, run: () => Promise<void>) => {
    const before = registry.log().length;
    const began = performance.now();
    await run();
    const took = (performance.now() - began) / 1000;
    // An entry appears a moment after its answer.
    await new Promise((resolve) => setTimeout(resolve, 300));
    const requests = registry.log().slice(before);
    console.error(`${what}: ${requests.length} requests`);
    for (const { method, path, status, bytes } of requests)
      console.error(`  ${method} ${path.replace(/(:[0-9a-f]{8})[0-9a-f]+/, '$1')} ${status} ${bytes}`);
    return took;
  };

  const task: Task = {
    title: `apptainer exec of an image of ${MEBIBYTES} MB, not cached, 200 Mbit/s and 20 ms`,
    variants: [
      {
        name: first,
        missing,
        prepare: () => home.mountEmpty(),
        run: () => tellRequests(first, () => succeed('exec', image, 'true')),
      },
      {
        name: evicted,
        missing,
        prepare: async () => {
          await home.unmount();
          await home.sregistry('cache', 'prune');
          await home.mount();
        },
        run: () => tellRequests(evicted, () => succeed('exec', image, 'true')),
      },
      {
        name: pushed,
        missing,
        prepare: async () => {
          await pushTraced();
          await home.mountEmpty();
        },
        run: () => tellRequests(pushed, () => succeed('exec', traced, 'true')),
      },
      { name: local, missing, run: () => succeed('exec', file, 'true') },
      {
        name: pulled,
        missing,
        prepare: async () => {
          if (existsSync(copy)) rmSync(copy);
        },
        run: async () => {
          await succeed('pull', '--no-https', '--disable-cache', copy, `oras://${link.host}/${NAME}`);
          await succeed('exec', copy, 'true');
        },
      },
    ],
    goals: [
      { of: evicted, against: first },
      { of: pushed, against: first },
      { of: pushed, against: local, limit: 2 },
      { of: first, against: pulled },
    ],
  };
  return { tasks: [task], [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

async function succeed(...args: string[]): Promise<void> {
  const { code, stderr } = await apptainer(args, { timeout: LIMIT });
  if (code !== 0) throw new Error(`apptainer ${args.join(' ')} ended with ${code}: ${stderr}`);
}
