/** Images described over layers, read by programs that know nothing of us: unsquashfs, the kernel, squashfuse. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { addContainerFiles } from '../../../src/image/layers/container.ts';
import type { LayerTree } from '../../../src/image/layers/merge.ts';
import { needs } from '../../helpers/skip.ts';
import { type Listed, list, ociLayout, python, run, writeImage } from './support.ts';

const SID = join(import.meta.dirname, '../../servers/sid');

needs({ root: true })('an image described over four layers', () => {
  let folder: string;
  let expected: Listed[];
  const at = (name: string) => join(folder, name);

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'sregistry-layers-'));
    mkdirSync(at('applied'));
    await python('make', folder);
    const layers = [1, 2, 3, 4].map((i) => at(`layer-${i}.tar`));
    await python('apply', at('applied'), ...layers);
    expected = comparable(await list(at('applied')));
    await writeImage(layers, at('image.squashfs'));
    // Ten thousand files on a busy machine.
  }, 300_000);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it('has what the plain application of the layers leaves on a disk', () => {
    const shown = expected.map((entry) => entry.shown);
    expect(shown.length).toBeGreaterThan(10_040);
    expect(shown).toContain('usr/lib/through-link');
    expect(shown).toContain('usr/inside');
    expect(shown).toContain('latin-\xe9');
    for (const gone of ['etc/gone', 'etc/tree/a', 'etc/tree/sub/b', 'bin/alias'])
      expect(shown).not.toContain(gone);
  });

  it('is extracted by unsquashfs to the same tree', async () => {
    const { stderr } = await run('unsquashfs', ['-no-progress', '-d', at('extracted'), at('image.squashfs')]);
    expect(stderr).toBe('');
    expect(comparable(await list(at('extracted')))).toEqual(expected);
  });

  it('is mounted by the kernel with the same tree', async () => {
    mkdirSync(at('mounted'));
    await run('mount', ['-t', 'squashfs', '-o', 'loop,ro', at('image.squashfs'), at('mounted')]);
    try {
      expect(comparable(await list(at('mounted')))).toEqual(expected);
    } finally {
      await run('umount', [at('mounted')]);
    }
  });

  needs({ apptainer: true })('beside Apptainer', () => {
    it('is mounted by squashfuse with the same contents', async () => {
      mkdirSync(at('fuse'));
      const script =
        'squashfuse "$1" "$2" && cd "$2" && find . -type f -exec sha256sum {} +; cd /; fusermount3 -uz "$2"';
      const { stdout } = await run(SID, ['run', 'sh', '-c', script, 'sh', at('image.squashfs'), at('fuse')], {
        maxBuffer: 64 * 1024 * 1024,
        encoding: 'latin1',
      });
      const found = new Set(
        stdout
          .split('\n')
          .map((line) => line.slice(0, 64))
          .filter((hash) => hash !== ''),
      );
      const wanted = new Set(expected.flatMap((entry) => entry.sha256 ?? []));
      expect(found).toEqual(wanted);
      expect(stdout.split('\n').length).toBeGreaterThan(10_000);
    });

    it("is, with the container's files, what Apptainer makes of the layers, but for times of its own", async () => {
      const layers = [1, 2, 3, 4].map((i) => at(`layer-${i}.tar`));
      const layout = ociLayout(at('oci'), layers, {});
      // As root itself, not in a user namespace: only so can it make devices and any owner.
      const env = { ...process.env, APPTAINER_CACHEDIR: at('cache'), APPTAINER_CONFIGDIR: at('config') };
      const build = ['apptainer', 'build', '--disable-cache', '--sandbox', at('theirs'), `oci:${layout}`];
      await run(SID, ['run', ...build], { env });
      const add = (tree: LayerTree) => addContainerFiles(tree, {}, { modified: 0, architecture: 'amd64' });
      await writeImage(layers, at('ours.squashfs'), add);
      await run('unsquashfs', ['-no-progress', '-quiet', '-d', at('ours'), at('ours.squashfs')]);
      const [ours, theirs] = [await list(at('ours')), await list(at('theirs'))].map(likeApptainer);
      expect(ours).toEqual(theirs);
    });
  });
});

/** Without the texts that are our own, and what depends on when and with which umask Apptainer ran. */
function likeApptainer(entries: Listed[]): Listed[] {
  return entries.map((entry) => {
    const isAdded = /^\.singularity\.d(\/|$)/.test(entry.shown) || ADDED.has(entry.shown);
    const isImplied = IMPLIED.has(entry.shown) && String(entry.mode).startsWith('0o4');
    if (!isAdded && !isImplied) return entry;
    const { modified: _, sha256: __, size: ___, mode, ...rest } = entry;
    return (isImplied ? rest : { ...rest, mode }) as Listed;
  });
}

/** What Apptainer adds, and directories that it changes so. */
const ADDED = new Set(
  '. .exec .run .shell .test environment singularity home proc root sys var var/tmp etc etc/hosts etc/resolv.conf usr'.split(
    ' ',
  ),
);

/** Without what an inode number or a directory that no layer names decides. */
function comparable(entries: Listed[]): Listed[] {
  return entries.map((entry) => {
    if (!IMPLIED.has(entry.shown)) return entry;
    const { modified: _, ...rest } = entry;
    return rest as Listed;
  });
}

/** Directories that only what is in them implies: when they were made, no layer says. */
const long = `long-${'n'.repeat(120)}`;
const IMPLIED = new Set([
  Buffer.from('höhe').toString('latin1'),
  long,
  `${long}/${long}`,
  'usr/share',
  'usr/share/made',
  'usr/share/made/on',
  'usr/share/made/on/the',
  'usr/share/made/on/the/way',
]);
