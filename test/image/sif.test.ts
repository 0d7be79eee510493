import { describe, expect, it } from 'vitest';
import { primaryPartition, readSif, readSifData, type Sif } from '../../src/image/sif.ts';
import { bytesSource } from '../../src/image/source.ts';
import { fixture, latin1, partitionExtra, patched, sifImage } from './fixtures.ts';

const read = async (bytes: Uint8Array): Promise<Sif> => (await readSif(bytesSource(bytes))) as Sif;

describe('a SIF that Apptainer signed', () => {
  const bytes = fixture('small-signed.sif');

  it('has the header that apptainer sif header prints', async () => {
    const { header } = await read(bytes);
    expect(header).toMatchObject({
      launch: '#!/usr/bin/env run-singularity\n',
      version: '01',
      architecture: 'amd64',
      id: 'ea20ccc2-9534-4601-8f10-5e08ebbd54e6',
      created: new Date('2026-11-22T13:16:43Z'),
      descriptors: { total: 48, offset: 4096 },
    });
  });

  it('has the objects that apptainer sif list prints', async () => {
    const { descriptors, length } = await read(bytes);
    expect(
      descriptors.map(({ id, group, offset, size, type }) => [id, group, offset, offset + size, type]),
    ).toEqual([
      [1, 1, 32_176, 33_425, 'deffile'],
      [2, 1, 33_425, 36_927, 'json'],
      [3, 1, 40_960, 2_441_216, 'partition'],
      [4, 0, 2_441_216, 2_442_536, 'signature'],
    ]);
    expect(descriptors[1]?.name).toBe('inspect-metadata.json');
    expect(descriptors[2]?.partition).toEqual({
      fileSystem: 'squashfs',
      type: 'primary',
      architecture: 'amd64',
    });
    expect(descriptors[3]).toMatchObject({
      link: { to: 'group', id: 1 },
      signature: { hash: 'sha256', fingerprint: 'B30D7E2239EAF6CCEB44DD9C68C7E7AA16BC2552' },
    });
    expect(length).toBe(2_442_536);
  });

  it('gives the data of an object', async () => {
    const source = bytesSource(bytes);
    const { descriptors } = await read(bytes);
    const [deffile] = descriptors;
    const text = await readSifData(source, deffile as never, 10_000);
    expect(Buffer.from(text).toString()).toMatch(/^Bootstrap: localimage\n/);
    await expect(readSifData(source, deffile as never, 100)).rejects.toMatchObject({ code: 'NOT_AN_IMAGE' });
  });
});

describe('every kind of object', () => {
  const extras: [number, Uint8Array, object][] = [
    [0x4001, latin1(''), { type: 'deffile' }],
    [0x4002, latin1(''), { type: 'environment' }],
    [0x4003, latin1(''), { type: 'labels' }],
    [0x4004, partitionExtra(5, 2), { partition: { fileSystem: 'encrypted-squashfs', type: 'primary' } }],
    [0x4004, partitionExtra(6, 1), { partition: { fileSystem: 'gocryptfs-squashfs', type: 'system' } }],
    [0x4004, partitionExtra(2, 4), { partition: { fileSystem: 'ext3', type: 'overlay' } }],
    [0x4004, partitionExtra(77, 78), { partition: { fileSystem: 'unknown', type: 'unknown' } }],
    [0x4005, patched(new Uint8Array(4), { 0: 3 }), { signature: { hash: 'sha512', fingerprint: '' } }],
    [0x4006, latin1(''), { type: 'json' }],
    [0x4007, latin1(''), { type: 'generic' }],
    [
      0x4008,
      patched(new Uint8Array(8), { 0: 2, 4: 0x200 }),
      { message: { format: 'pem', type: 'rsa-oaep' } },
    ],
    [0x4009, patched(new Uint8Array(4), { 0: 4 }), { type: 'sbom', sbom: 'spdx-json' }],
    [0x400a, latin1('sha256:ab\0'), { type: 'oci-root-index', digest: 'sha256:ab' }],
    [0x400b, latin1('sha256:cd\0'), { type: 'oci-blob', digest: 'sha256:cd' }],
    [0x4fff, latin1(''), { type: 'unknown' }],
  ];

  it('is named, with what its descriptor says', async () => {
    const objects = extras.map(([type, extra]) => ({ type, extra, data: latin1('x') }));
    const { descriptors } = await read(sifImage(objects));
    expect(descriptors).toHaveLength(extras.length);
    for (const [i, [, , expected]] of extras.entries()) expect(descriptors[i]).toMatchObject(expected);
  });

  it('the primary partition is found among others', async () => {
    const objects = [partitionExtra(2, 4), partitionExtra(1, 2)].map((extra) => ({
      type: 0x4004,
      extra,
      data: latin1('x'),
    }));
    expect(primaryPartition(await read(sifImage(objects)))?.id).toBe(2);
    expect(primaryPartition(await read(sifImage(objects.slice(0, 1))))).toBeUndefined();
  });

  it('is found where descriptors before it were deleted', async () => {
    const image = new Uint8Array(sifImage([1, 2, 3].map((n) => ({ type: 0x4007, data: latin1(`${n}`) }))));
    image.fill(0, 4096 + 585, 4096 + 2 * 585);
    expect((await read(image)).descriptors.map(({ id }) => id)).toEqual([1, 3]);
  });
});

describe('dates', () => {
  it.each([0n, -62_135_596_800n, 2n ** 62n])(
    '%s seconds, as deterministic images have, are none',
    async (seconds) => {
      const image = sifImage([{ type: 0x4007, data: latin1('x') }]);
      const { header, descriptors } = await read(patched(image, { 64: seconds, [4096 + 41]: seconds }));
      expect(header.created).toBeUndefined();
      expect(descriptors[0]?.created).toBeUndefined();
    },
  );
});

it('an object that ends behind the file is told when it is read', async () => {
  const image = sifImage([{ type: 0x4007, data: latin1('0123456789') }]);
  const source = bytesSource(image.subarray(0, image.length - 1));
  const sif = (await readSif(source)) as Sif;
  expect(sif.length).toBe(image.length);
  await expect(readSifData(source, sif.descriptors[0] as never, 100)).rejects.toMatchObject({
    code: 'CORRUPT',
    message: expect.stringContaining('SIF object 1'),
  });
});
