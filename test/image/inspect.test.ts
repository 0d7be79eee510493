import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { files, openImage, openRoot } from '../../src/image/image.ts';
import { inspect, olderView } from '../../src/image/inspect.ts';
import { inspectRoot } from '../../src/image/inspect-root.ts';
import { type ByteSource, bytesSource } from '../../src/image/source.ts';
import type { SquashFs } from '../../src/image/squashfs/filesystem.ts';
import { extImage, fixture, fixturePath, LAUNCH_LINE, latin1, partitionExtra, sifImage } from './fixtures.ts';

const recorded = (name: string) =>
  JSON.parse(readFileSync(fixturePath(name.replace(/\.\w+$/, '.inspect.json')), 'utf8'));

/** Counts requests and bytes, as a remote source would be charged for them. */
function counted(source: ByteSource) {
  const count = { requests: 0, bytes: 0 };
  const read: ByteSource['read'] = async (offset, length) => {
    const bytes = await source.read(offset, length);
    count.requests++;
    count.bytes += bytes.length;
    return bytes;
  };
  return { count, source: { size: source.size, read } };
}

const IMAGES = ['small-gzip.sif', 'small-zstd.sif', 'small-signed.sif', 'old-gzip.simg', 'old-plain.sqsh'];

describe.each(IMAGES)('%s', (name) => {
  const whole = bytesSource(fixture(name));

  it('is described field by field as Apptainer did', async () => {
    const inspection = await inspect(whole);
    const { attributes } = recorded(name).data;
    expect(Object.keys(inspection.data.attributes)).toEqual(Object.keys(attributes));
    for (const [field, value] of Object.entries(attributes))
      expect(inspection.data.attributes, field).toHaveProperty(field, value);
    expect(inspection).toEqual(recorded(name));
  });

  it('is described the same from the files in its root', async () => {
    const root = (await openRoot(await openImage(whole))) as SquashFs;
    expect(await inspectRoot(root)).toEqual(recorded(name).data.attributes);
  });

  it('is described in few requests of little', async () => {
    const { count, source } = counted(whole);
    await inspect(source);
    expect(count.requests).toBeLessThanOrEqual(4);
    expect(count.bytes).toBeLessThanOrEqual(256 * 1024);
  });

  it('lists its files', async () => {
    const paths: string[] = [];
    for await (const { path } of files(whole, '/.singularity.d')) paths.push(path);
    expect(paths).toContain('/.singularity.d/env/90-environment.sh');
    expect(paths[0]).toBe('/.singularity.d');
    await expect(files(whole, '/nowhere').next()).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  it('is not described when it is not whole', async () => {
    await expect(inspect(bytesSource(fixture(name).subarray(0, 500_000)))).rejects.toMatchObject({
      code: 'CORRUPT',
    });
  });
});

it('the older view has the environment as one text, help, and null for what there is not', async () => {
  const older = olderView(await inspect(bytesSource(fixture('old-gzip.simg'))));
  expect(older.data.attributes.environment).toContain('export LAB_NAME=old');
  expect(older.data.attributes.help).toContain('Second line of help.');
  expect(older.data.type).toBe('container');
  const bare = olderView({ data: { attributes: {} }, type: 'container' });
  expect(bare.data.attributes).toEqual({
    deffile: null,
    environment: null,
    help: null,
    labels: null,
    runscript: null,
    test: null,
  });
});

describe('what cannot be looked into', () => {
  const deffile = { type: 0x4001, data: latin1('Bootstrap: docker\nFrom: alpine\n') };
  const partition = (fileSystem: number) => ({
    type: 0x4004,
    data: new Uint8Array(100),
    extra: partitionExtra(fileSystem, 2),
  });

  it.each([
    ['an ext3 image', extImage(64, LAUNCH_LINE), 'an ext file system', 8],
    ['an encrypted SIF', sifImage([deffile, partition(5)]), 'encrypted', 7],
    ['a SIF with ext3', sifImage([deffile, partition(2)]), 'ext file system', 7],
    ['an OCI-SIF', sifImage([{ type: 0x400a, data: latin1('{}') }]), 'OCI-SIF', 8],
    ['a SIF of data', sifImage([{ type: 0x4007, data: latin1('x') }]), 'without a root', 8],
  ])('%s says which attributes are unknown and why', async (_what, bytes, reason, count) => {
    const { data, unknown } = await inspect(bytesSource(bytes));
    expect(unknown?.reason).toContain(reason);
    expect(unknown?.attributes).toHaveLength(count);
    expect(data.attributes.deffile).toBe(count === 7 ? 'Bootstrap: docker\nFrom: alpine\n' : undefined);
    await expect(files(bytesSource(bytes)).next()).rejects.toMatchObject({ code: 'UNSUPPORTED' });
  });

  it('what is no image is an error with the reason', async () => {
    await expect(inspect(bytesSource(latin1('just some notes\n')))).rejects.toMatchObject({
      code: 'NOT_AN_IMAGE',
      message: expect.stringContaining('text'),
    });
  });
});

describe('the metadata object of a SIF', () => {
  const withObject = (json: string) =>
    inspect(
      bytesSource(
        sifImage([
          { type: 0x4001, data: latin1('Bootstrap: scratch') },
          { type: 0x4006, data: Buffer.from(json), name: 'inspect-metadata.json' },
        ]),
      ),
    );

  it('counts before everything else', async () => {
    const { data, unknown } = await withObject(
      '{"data":{"attributes":{"labels":{"b":"2","a":"1"}}},"type":"container"}',
    );
    expect(data.attributes).toEqual({ labels: { a: '1', b: '2' }, deffile: 'Bootstrap: scratch' });
    expect(unknown).toBeUndefined();
  });

  it.each(['', 'not json', 'null', '{}', '{"data":null}'])('that reads %j is passed over', async (json) => {
    expect((await withObject(json)).unknown?.attributes).toContain('labels');
  });

  it('of unexpected shape gives what is of the expected one', async () => {
    const attributes = {
      labels: { good: 'yes', bad: 1, __proto__: 'x' },
      runscript: 7,
      apps: { one: { runscript: 'run', labels: [] }, two: 'x' },
      environment: 'text',
      extra: true,
    };
    const { data } = await withObject(JSON.stringify({ data: { attributes } }));
    expect(data.attributes).toEqual({
      labels: { good: 'yes' },
      apps: { one: { runscript: 'run' }, two: {} },
      deffile: 'Bootstrap: scratch',
    });
  });
});
