/**
 * What pushing a large image to docker-registry costs, by command and by `cp` into the mount, beside `oras` and `curl`. Each run pushes
 * bytes that the registry does not have.
 */
import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { startRegistry } from '../../test/servers/docker-registry.ts';
import { Bytes } from '../../test/torture/content.ts';
import type { Benchmark, Task, Variant } from '../harness.ts';
import { Home } from '../home.ts';

const SIZE = 700 * 1024 * 1024;

/** The upload of a client that reads the file for its digest first. */
const CURL = `
  digest=$(sha256sum "$1" | cut -d' ' -f1)
  place() { sed -n 's/^[Ll]ocation: *//p' | tr -d '\\r'; }
  to=$(curl -sSf -X POST -D - -o /dev/null "$2/blobs/uploads/" | place)
  to=$(curl -sSf -X PATCH -T "$1" -H 'content-type: application/octet-stream' -D - -o /dev/null "$to" | place)
  curl -sSf -X PUT "$to&digest=sha256:$digest"
`;

export async function start(): Promise<Benchmark> {
  const stack = new AsyncDisposableStack();
  const registry = await startRegistry({ record: false });
  stack.defer(() => registry.remove());
  const home = stack.use(new Home());
  await home.sregistry('backend', 'add', 'lab', '--driver', 'oci', `base=http://${registry.host}`);
  await home.mount();

  const bytes = new Bytes('push');
  const file = join(home.path, 'image.sif');
  let id = 0;
  const prepare = async () => {
    id += 1;
    rmSync(file, { force: true });
    bytes.write({ id, size: SIZE }, file);
    await home.run('sync', file);
  };
  const variant = (name: string, run: () => Promise<unknown>, missing?: string): Variant => {
    return { name, missing, prepare, run };
  };

  const task: Task = {
    title: `push of ${SIZE / 2 ** 20} MiB, loopback`,
    variants: [
      variant('sregistry push', () => home.sregistry('push', file, '--name', `lab://bench/command:${id}`)),
      variant('cp into the mount', () =>
        home.run('cp', file, join(home.mountpoint, `lab/bench/mount:${id}.sif`)),
      ),
      variant(
        'oras push',
        () =>
          home.run(
            'oras',
            'push',
            '--plain-http',
            '--disable-path-validation',
            `${registry.host}/bench/oras:${id}`,
            file,
          ),
        spawnSync('oras', ['version']).error && 'oras is not installed',
      ),
      variant('curl', () => home.run('bash', '-ec', CURL, 'push', file, `${registry.url}/v2/bench/curl`)),
    ],
    goals: ['sregistry push', 'cp into the mount'].flatMap((of) => [
      { of, against: 'oras push', limit: 1 },
      { of, against: 'curl', limit: 1 },
    ]),
  };
  return { tasks: [task], [Symbol.asyncDispose]: () => stack.disposeAsync() };
}
