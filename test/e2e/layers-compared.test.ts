/**
 * One image in five layers over files of Debian, as gzip and as zstd (test/servers/debian-image), in a real registry. What the mount
 * shows and what `sregistry pull` writes are held against what umoci unpacks and what `apptainer pull` makes: each file's
 * name, type, mode, owner, time, links, attributes and contents. SREGISTRY_TEST_FILES says how many small files it has besides.
 */
import { execFile } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readSif } from '../../src/image/sif.ts';
import { openFileSource } from '../../src/image/source.ts';
import { needs } from '../helpers/skip.ts';
import { type Listed, list } from '../image/layers/support.ts';
import { startRegistry, type TestRegistry } from '../servers/docker-registry.ts';
import { sha256, World } from './support.ts';

const SERVERS = join(import.meta.dirname, '../servers');
const FILES = process.env.SREGISTRY_TEST_FILES ?? '2000';
/** Milliseconds: for a hundred thousand files on a busy machine. */
const LIMIT = 1_800_000;

needs({ fuse: true, registry: true, apptainer: true, umoci: true, root: true })(
  'an image in layers of gzip and of zstd',
  () => {
    let world: World;
    let registry: TestRegistry;
    let umoci: Listed[];
    let mounted: Listed[];
    const at = (name: string) => join(world.home, name);
    const run = (command: string, ...args: string[]) =>
      promisify(execFile)(command, args, { cwd: world.home, timeout: LIMIT, maxBuffer: 1 << 28 });

    /** The tree of a SquashFS that begins `offset` bytes into a file. */
    const extract = async (file: string, name: string, offset = 0): Promise<Listed[]> => {
      await run('unsquashfs', '-no-progress', '-quiet', '-o', String(offset), '-d', at(name), file);
      return list(at(name));
    };
    /** The tree of the root in a SIF. */
    const extractSif = async (file: string, name: string) => {
      await using source = await openFileSource(file);
      const root = (await readSif(source))?.descriptors.find(({ partition }) => partition !== undefined);
      return extract(file, name, root?.offset);
    };

    beforeAll(async () => {
      world = await World.create();
      registry = await startRegistry();
      await run(join(SERVERS, 'debian-image'), at('image'), FILES);
      for (const [layout, tag] of [
        ['oci', 'gzip'],
        ['zstd', 'zstd'],
      ]) {
        const to = `docker://${registry.host}/demo/debian:${tag}`;
        await run(
          'skopeo',
          'copy',
          '-q',
          '--dest-tls-verify=false',
          `oci:${at('image')}/${layout}:latest`,
          to,
        );
      }
      await run('umoci', 'raw', 'unpack', '--image', `${at('image')}/oci:latest`, at('umoci'));
      umoci = await list(at('umoci'));
      await world.ok(world.sregistry('backend', 'add', 'lab', '--driver', 'oci', `base=${registry.url}`));
      await world.mount();
      mounted = await extract(join(world.mountpoint, 'lab/demo/debian:gzip.simg'), 'mounted');
    }, LIMIT);
    afterAll(async () => {
      await world.end();
      await registry.remove();
    });

    test('has what makes layers hard', () => {
      const shown = new Map(umoci.map((entry) => [entry.shown, entry]));
      expect(umoci.length).toBeGreaterThan(Number(FILES) + 500);
      expect(shown.get('usr/local/capable')?.xattrs).toHaveProperty(['security.capability']);
      expect(shown.get('usr/local/third')?.names).toHaveLength(2);
      expect(shown.has('opt/opaque/c')).toBe(true);
      for (const path of [
        'usr/local/latin-\xe9',
        'usr/through',
        'opt/to-directory/now',
        'opt/both',
        'dev-disk',
      ])
        expect(shown.has(path), path).toBe(true);
      for (const path of ['opt/old', 'opt/opaque/a', 'opt/second', 'usr/local/setuid', 'opt/to-file/inside'])
        expect(shown.has(path), path).toBe(false);
    });

    test('is, but for the files of a container, what umoci unpacks', () => {
      expect(withoutContainer(mounted)).toEqual(withoutContainer(umoci));
    });

    test('is the same bytes whatever compresses its layers', async () => {
      const [gzip, zstd] = ['gzip', 'zstd'].map((tag) =>
        join(world.mountpoint, `lab/demo/debian:${tag}.simg`),
      );
      expect(await sha256(zstd as string)).toBe(await sha256(gzip as string));
    });

    test(
      'is what `apptainer pull` makes of it, but for what docs/layers.md lists',
      async () => {
        const uri = `docker://${registry.host}/demo/debian:zstd`;
        const pull = ['apptainer', 'pull', '--no-https', '--disable-cache', at('theirs.sif'), uri];
        await run(join(SERVERS, 'sid'), 'run', ...pull);
        const theirs = await extractSif(at('theirs.sif'), 'theirs');
        expect(likeApptainer(mounted)).toEqual(likeApptainer(theirs));
      },
      LIMIT,
    );

    test(
      'is what `sregistry pull` packs',
      async () => {
        const uri = `docker://${registry.host}/demo/debian:gzip`;
        await run(process.execPath, world.executable, 'pull', uri, '--name', at('ours.sif'));
        const ours = await extractSif(at('ours.sif'), 'ours');
        // The source is known to a pull alone.
        const named = ['.singularity.d/labels.json', '.singularity.d/Singularity'];
        const others = (entries: Listed[]) => entries.filter(({ shown }) => !named.includes(shown));
        expect(others(ours)).toEqual(others(mounted));
        expect(await world.apptainer('run', at('ours.sif'))).toBe('here\n');
      },
      LIMIT,
    );

    test(
      'is read by squashfuse, and run by Apptainer, from the mount',
      async () => {
        mkdirSync(at('fuse'));
        const image = join(world.mountpoint, 'lab/demo/debian:gzip.simg');
        const script =
          'squashfuse "$1" "$2"; cd "$2"; find . -xdev -type f -exec sha256sum -z {} +; cd /; fusermount3 -uz "$2"';
        const { stdout } = await promisify(execFile)(
          join(SERVERS, 'sid'),
          ['run', 'sh', '-c', script, 'sh', image, at('fuse')],
          { encoding: 'latin1', maxBuffer: 1 << 28, timeout: LIMIT },
        );
        const found = stdout.split('\0').filter((line) => line !== '');
        const wanted = mounted.filter(({ sha256: hash }) => hash !== undefined);
        expect(found.sort()).toEqual(wanted.map(({ shown, sha256: hash }) => `${hash}  ./${shown}`).sort());
        expect(await world.apptainer('run', image)).toBe('here\n');
      },
      LIMIT,
    );
  },
);

/** What Apptainer adds, and what it does to directories on the way. */
const ADDED = new Set(
  '. .exec .run .shell .test environment singularity dev home proc root sys tmp var var/tmp etc etc/hosts etc/resolv.conf'.split(
    ' ',
  ),
);
const isContainer = ({ shown }: Listed) => /^\.singularity\.d(\/|$)/.test(shown) || ADDED.has(shown);

function withoutContainer(entries: readonly Listed[]): Listed[] {
  return entries.filter((entry) => !isContainer(entry));
}

/** Without the texts that are our own, and what depends on when Apptainer ran. */
function likeApptainer(entries: readonly Listed[]): Listed[] {
  return entries.map((entry) => {
    if (!isContainer(entry)) return entry;
    const { modified: _, sha256: __, size: ___, ...rest } = entry;
    return rest as Listed;
  });
}
