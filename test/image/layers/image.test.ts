/** Images described over layers, read by programs that know nothing of us: unsquashfs, the kernel, squashfuse. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { needs } from '../../helpers/skip.ts';
import { type Listed, list, python, run, writeImage } from './support.ts';

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
  });
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
});

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
