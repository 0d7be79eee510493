import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { flattenAnnotations, INSPECT_KEY, readAnnotations } from '../../src/image/annotations.ts';
import { olderView } from '../../src/image/inspect.ts';
import { getMetadata, type Metadata } from '../../src/image/metadata.ts';
import { parseImageName } from '../../src/image/names.ts';
import { extImage, fixture, fixturePath, LAUNCH_LINE, patched } from './fixtures.ts';

let folder: string;
let searchPath: string | undefined;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sregistry-metadata-'));
  searchPath = process.env.PATH;
  // No Singularity unless a test installs one.
  process.env.PATH = folder;
});

afterEach(async () => {
  process.env.PATH = searchPath;
  await rm(folder, { recursive: true });
});

const recorded = (name: string) => JSON.parse(Buffer.from(fixture(name)).toString());

async function file(name: string, bytes: Uint8Array): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, bytes);
  return path;
}

const ANSWER = `exec /bin/cat '${fixturePath('small-gzip.inspect.json')}'`;

/** A program that, whatever it is asked, does `script`: by default answer what Apptainer did for small-gzip.sif. */
async function install(program: string, script = ANSWER): Promise<void> {
  await chmod(await file(program, Buffer.from(`#!/bin/sh\n${script}\n`)), 0o755);
}

describe('getMetadata', () => {
  it('joins the parts of the name with what inspect tells', async () => {
    const names = parseImageName('vsoch/hello-world', { ext: 'simg' });
    const metadata = await getMetadata(fixturePath('small-gzip.sif'), names);
    expect(metadata).toMatchObject({
      collection: 'vsoch',
      image: 'hello-world',
      storage: 'vsoch/hello-world:latest.simg',
      tag: 'latest',
      uri: 'vsoch/hello-world:latest',
      url: 'vsoch/hello-world',
      version: undefined,
      created: '2026-11-22T13:16:43.000Z',
      ...recorded('small-gzip.inspect.json'),
    });
    expect(metadata).not.toHaveProperty('unknown');
  });

  it('has the first names of its fields in the older view', async () => {
    const { data } = olderView(await getMetadata(fixturePath('old-gzip.simg')));
    expect(Object.keys(data.attributes)).toEqual([
      'deffile',
      'environment',
      'help',
      'labels',
      'runscript',
      'test',
    ]);
    expect(data.type).toBe('container');
  });

  it('takes the name from the file where none is given', async () => {
    const path = await file('Hello:1.0@sha256:ab.simg', fixture('old-gzip.simg'));
    expect(await getMetadata(path)).toMatchObject({ uri: 'library/hello:1.0@sha256:ab' });
  });

  it('says what is unknown of an image that only Singularity can open, and asks it where it is installed', async () => {
    const path = await file('old.img', extImage(64, LAUNCH_LINE));
    expect((await getMetadata(path)).unknown?.reason).toContain('ext file system');

    await install('singularity', 'exit 255');
    expect((await getMetadata(path)).unknown?.reason).toContain('ext file system');

    await install('apptainer');
    const metadata = await getMetadata(path);
    expect(metadata.data).toEqual(recorded('small-gzip.inspect.json').data);
    expect(metadata).not.toHaveProperty('unknown');
  });

  it('is no error for an image that is damaged inside', async () => {
    const squashfs = patched(fixture('old-plain.sqsh'), { 64: 200n });
    const metadata = await getMetadata(await file('damaged.simg', squashfs));
    expect(metadata.unknown?.attributes).toContain('labels');
    expect(metadata.image).toBe('damaged');
  });

  it('is an error for what is no image, not whole, or not there', async () => {
    await expect(getMetadata(await file('a.sif', Buffer.from('notes')))).rejects.toMatchObject({
      code: 'NOT_AN_IMAGE',
    });
    const half = fixture('small-gzip.sif').subarray(0, 1_000_000);
    await expect(getMetadata(await file('b.sif', half))).rejects.toMatchObject({ code: 'CORRUPT' });
    await expect(getMetadata(join(folder, 'c.sif'))).rejects.toMatchObject({ code: 'ENOENT' });
  });
});

describe('annotations', () => {
  const metadata = (attributes: Metadata['data']['attributes'], more: Partial<Metadata> = {}): Metadata => ({
    ...parseImageName('lab/demo:1.0'),
    data: { attributes },
    type: 'container',
    ...more,
  });
  const bytes = (annotations: Record<string, string>) =>
    Object.entries(annotations).reduce((sum, [k, v]) => sum + Buffer.byteLength(k) + Buffer.byteLength(v), 0);

  it('hold title, date, every label under its own key, and what inspect tells', async () => {
    const described = await getMetadata(fixturePath('small-gzip.sif'));
    const annotations = flattenAnnotations(described);
    expect(annotations).toMatchObject({
      ...described.data.attributes.labels,
      'org.opencontainers.image.title': 'lab-small-gzip',
      'org.opencontainers.image.created': '2026-11-22T13:16:43.000Z',
    });
    expect(readAnnotations(annotations)).toEqual(described.data.attributes);
  });

  it('take the title from the name where no label gives one', () => {
    expect(flattenAnnotations(metadata({}))).toEqual({
      'org.opencontainers.image.title': 'demo:1.0',
      [INSPECT_KEY]: '{}',
    });
  });

  it('stay within 64 KiB, leaving out what does not fit', () => {
    const labels = { a: 'x'.repeat(50_000), b: 'é'.repeat(10_000), c: 'small', d: 'y'.repeat(60_000) };
    const annotations = flattenAnnotations(metadata({ labels }));
    expect(Object.keys(annotations)).toEqual(['org.opencontainers.image.title', 'a', 'c']);
    expect(bytes(annotations)).toBeLessThanOrEqual(64 * 1024);
    expect(readAnnotations(annotations).labels).toMatchObject({ c: 'small' });
  });

  it('leave out what inspect tells above 32 KiB, or where not everything is known', () => {
    const long = metadata({ deffile: 'x'.repeat(32 * 1024) });
    expect(flattenAnnotations(long)).not.toHaveProperty([INSPECT_KEY]);
    const partly = metadata({}, { unknown: { attributes: ['labels'], reason: 'It is encrypted' } });
    expect(flattenAnnotations(partly)).not.toHaveProperty([INSPECT_KEY]);
  });

  it('of other tools are labels, and damaged ones do no harm', () => {
    expect(readAnnotations({ a: '1' })).toEqual({ labels: { a: '1' } });
    expect(readAnnotations({ a: '1', [INSPECT_KEY]: '{nonsense' })).toEqual({ labels: { a: '1' } });
    expect(readAnnotations({ [INSPECT_KEY]: '{"labels":{"a":5},"apps":[],"other":1}' })).toEqual({});
    expect(readAnnotations(undefined)).toEqual({});
  });
});
