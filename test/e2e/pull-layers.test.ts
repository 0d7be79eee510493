/** Containers in layers, pulled by us and by Apptainer from one registry. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readSif } from '../../src/image/sif.ts';
import { openFileSource } from '../../src/image/source.ts';
import { needs } from '../helpers/skip.ts';
import { startRegistry, type TestRegistry } from '../servers/docker-registry.ts';
import { layerOf, pushIndex, pushLayered, tarOf } from '../servers/layered.ts';
import { sha256, World } from './support.ts';

const CONFIG = {
  Env: ['PATH=/bin', 'GREETING=hello'],
  Entrypoint: ['/bin/sh', '-c'],
  Cmd: ['echo $GREETING'],
  Labels: { maintainer: 'me', 'org.example.note': 'a "b" <c> ü' },
  WorkingDir: '/app',
  User: '1000',
  ExposedPorts: { '80/tcp': {} },
};
/** Labels that tell when and by which program an image was made. */
const OWN_LABELS = ['org.label-schema.build-date', 'org.label-schema.usage.apptainer.version'];

let world: World;
let registry: TestRegistry;
const at = (name: string) => join(world.home, name);
const uri = (name: string) => `docker://${registry.host}/${name}`;
const pull = (name: string, file: string, ...flags: string[]) =>
  world.sregistry('pull', uri(name), '--no-cache', '--name', at(file), '--json', ...flags);

async function begin(): Promise<void> {
  world = await World.create();
  registry = await startRegistry();
}
async function end(): Promise<void> {
  await world.end();
  await registry.remove();
}

needs({ registry: true, apptainer: true, root: true })('beside Apptainer', () => {
  beforeEach(begin);
  afterEach(end);

  test('a container in three layers becomes the same container', async () => {
    await pushLayered(registry.url, 'demo/app', '1.0', await shellLayers(), CONFIG);
    const printed = JSON.parse(await world.ok(pull('demo/app:1.0', 'ours.sif')));
    expect(printed).toMatchObject([{ path: at('ours.sif'), size: readFileSync(at('ours.sif')).length }]);
    await world.apptainer('pull', '--no-https', '--disable-cache', at('theirs.sif'), uri('demo/app:1.0'));

    const both = async (...args: string[]) => {
      const on = (file: string) =>
        world.apptainer(...args.map((argument) => (argument === 'IMAGE' ? at(file) : argument)));
      return [await on('ours.sif'), await on('theirs.sif')] as const;
    };
    for (const command of [
      'cat /etc/version /app/data | head -c 100',
      '[ -e /etc/gone ] || echo removed',
      'echo $GREETING $PATH',
      'echo /* /app/* /bin/* /.singularity.d/* /.singularity.d/*/*',
      'cmp /app/data /app/again && echo equal',
    ]) {
      const [ours, theirs] = await both('exec', '--cleanenv', 'IMAGE', '/bin/sh', '-c', command);
      expect(ours, command).toBe(theirs);
    }
    const [ran, wanted] = await both('run', '--cleanenv', 'IMAGE');
    expect(ran).toBe('hello\n');
    expect(ran).toBe(wanted);

    const [ours, theirs] = (await both('inspect', '--json', '--all', 'IMAGE')).map((text) =>
      JSON.parse(text),
    );
    expect(comparable(ours)).toEqual(comparable(theirs));
    for (const flag of ['--deffile', '--helpfile', '--test', '--list-apps']) {
      const [mine, other] = await both('inspect', flag, 'IMAGE');
      expect(mine, flag).toBe(other);
    }
    const [listed, expected] = (await both('sif', 'list', 'IMAGE')).map(objectsOf);
    expect(listed).toEqual(expected);
    const [config, wantedConfig] = await both('sif', 'dump', '3', 'IMAGE');
    expect(JSON.parse(config)).toEqual(JSON.parse(wantedConfig));
  });
});

needs({ registry: true })('a pull of a container in layers', () => {
  const small = (text: string, compression: 'gzip' | 'zstd' | 'none' = 'gzip') =>
    layerOf(tarOf([{ path: 'file', data: text }]), compression);

  beforeEach(begin);
  afterEach(end);

  test('writes the same bytes each time, and keeps the image in the library', async () => {
    const layers = [small('a'), small('b', 'zstd'), small('c', 'none')];
    await pushLayered(registry.url, 'demo/small', '1', layers, {});
    await world.ok(pull('demo/small:1', 'one.sif'));
    await world.ok('rm -rf .cache');
    const stored = (await world.ok(world.sregistry('pull', uri('demo/small:1')))).trim();
    expect(await sha256(stored)).toBe(await sha256(at('one.sif')));
  });

  test('takes the image of the architecture that is asked for', async () => {
    const amd64 = await pushLayered(registry.url, 'demo/multi', 'amd64', [small('a')], {}, 'amd64');
    const arm64 = await pushLayered(registry.url, 'demo/multi', 'arm64', [small('b')], {}, 'arm64');
    await pushIndex(registry.url, 'demo/multi', '1', { amd64, arm64 });
    for (const architecture of ['arm64', 'amd64']) {
      world.env.SREGISTRY_DOCKERHUB_ARCH = architecture === 'arm64' ? 'aarch64' : 's390x';
      const flags = architecture === 'arm64' ? [] : ['--arch', architecture];
      await world.ok(pull('demo/multi:1', `${architecture}.sif`, ...flags));
      await using source = await openFileSource(at(`${architecture}.sif`));
      const sif = await readSif(source);
      expect(sif?.header.architecture).toBe(architecture);
      expect(sif?.descriptors.at(-1)?.partition?.architecture).toBe(architecture);
    }
  });

  test('of a layer that is not what the configuration says is an error, and leaves nothing', async () => {
    const wrong = { ...small('a'), diffId: small('b').diffId };
    await pushLayered(registry.url, 'demo/wrong', '1', [small('c'), wrong]);
    const { code, stderr } = await pull('demo/wrong:1', 'wrong.sif');
    expect(code).not.toBe(0);
    expect(stderr).toMatch(/layer 2 of 2.*damaged/);
    expect(existsSync(at('wrong.sif'))).toBe(false);
    expect(readdirSync(world.home).filter((name) => name.includes('.part'))).toEqual([]);
  });
});

/** Three layers: programs, what is removed and changed above, and files of an application. */
async function shellLayers() {
  const needed = await world.ok(
    'for f in dash cat head cmp; do ldd $(command -v $f) | grep -o "/[^ ]*"; done',
  );
  const libraries = [...new Set(needed.split('\n').filter((path) => path !== ''))];
  const program = (path: string, name: string) => ({ path: name, data: readFileSync(path), mode: 0o755 });
  const base = tarOf([
    { path: 'bin/', type: 'directory' },
    program('/bin/dash', 'bin/sh'),
    ...['cat', 'head', 'cmp'].map((name) => program(`/usr/bin/${name}`, `bin/${name}`)),
    ...libraries.map((path) => program(path, path.slice(1))),
    { path: 'etc/', type: 'directory' },
    { path: 'etc/gone', data: 'gone' },
    { path: 'etc/version', data: 'one\n' },
  ]);
  const middle = tarOf([{ path: 'etc/.wh.gone' }, { path: 'etc/version', data: 'two\n' }]);
  const top = tarOf([
    { path: 'app/', type: 'directory' },
    { path: 'app/data', data: Buffer.alloc(1_000_000, 'sregistry ') },
    { path: 'app/again', type: 'hard-link', target: 'app/data' },
  ]);
  return [base, middle, top].map((tar) => layerOf(tar));
}

interface Inspected {
  readonly data: {
    readonly attributes: {
      readonly environment: Record<string, string>;
      readonly labels: Record<string, string>;
      readonly [more: string]: unknown;
    };
  };
}

/** Without the texts of scripts, which are our own (what they do is compared above), and labels of the program that made it. */
function comparable({ data: { attributes }, ...rest }: Inspected) {
  const { environment, labels, runscript, startscript, ...others } = attributes;
  return {
    ...rest,
    ...others,
    scripts: [typeof runscript, typeof startscript, Object.keys(environment)],
    labels: Object.fromEntries(Object.entries(labels).filter(([key]) => !OWN_LABELS.includes(key))),
  };
}

/** Number, group, link and type of each object of `apptainer sif list`. */
function objectsOf(list: string): string[][] {
  const rows = list.match(/^\d.*$/gm) ?? [];
  return rows
    .map((row) => row.split('|').map((cell) => cell.trim()))
    .map(([a, b, c, , e]) => [a, b, c, e] as string[]);
}
