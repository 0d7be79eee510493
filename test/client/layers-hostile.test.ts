/** Manifests, configurations and blobs that lie: an error that says what is wrong, or what they hold. */
import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import type { Session } from '../../src/client/session.ts';
import { findImage, parseTarget } from '../../src/client/target.ts';
import { needs } from '../helpers/skip.ts';
import type { Fault } from '../servers/fault-proxy.ts';
import { digestOf, type Layer, layerOf, tarOf } from '../servers/layered.ts';
import { fileIn, LayeredLab } from './layered-lab.ts';

const LAYER = layerOf(tarOf([{ path: 'a', data: 'x'.repeat(3000) }]));
const TYPES = 'application/vnd.oci.image';

/** Answers a request with these bytes. */
const answer =
  (bytes: Buffer, type: string): Fault =>
  (_request, response) =>
    void response.writeHead(200, { 'content-type': type, 'content-length': bytes.length }).end(bytes);

/** A container whose registry sends this for manifest and configuration. */
async function tell(lab: LayeredLab, layers: readonly object[], configuration: Buffer | object) {
  const config = Buffer.isBuffer(configuration) ? configuration : Buffer.from(JSON.stringify(configuration));
  const described = {
    mediaType: `${TYPES}.config.v1+json`,
    digest: digestOf(config),
    size: config.length,
  };
  const mediaType = `${TYPES}.manifest.v1+json`;
  const manifest = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, config: described, layers }));
  const to = (part: string) => ({
    times: 100,
    match: ({ url }: { url?: string | undefined }) => url?.includes(part) ?? false,
  });
  lab.proxy.inject(answer(manifest, mediaType), to('/manifests/'));
  lab.proxy.inject(answer(config, 'application/octet-stream'), to(digestOf(config)));
}

const descriptor = (size = LAYER.blob.length) => ({
  mediaType: LAYER.mediaType,
  digest: digestOf(LAYER.blob),
  size,
});
const configuration = (more: object = {}, layers = 1) => ({
  os: 'linux',
  architecture: process.arch === 'x64' ? 'amd64' : process.arch,
  rootfs: { type: 'layers', diff_ids: Array(layers).fill(LAYER.diffId) },
  ...more,
});

async function resolved(session: Session) {
  return findImage(session, await parseTarget('lab://demo/app:1', session));
}

needs({ registry: true })('a container in layers', () => {
  test.each<[string, object[], Buffer | object, string]>([
    [
      'more layers than anybody makes',
      Array(1001).fill(descriptor()),
      configuration({}, 1001),
      'it has 1001 layers, more than the 1000',
    ],
    ['other layers', [descriptor()], configuration({}, 2), 'names other layers than its manifest'],
    ['no layers', [descriptor()], configuration({ rootfs: undefined }), 'names other layers'],
    ['a list', [descriptor()], [1], 'names other layers'],
    ['no JSON', [descriptor()], Buffer.from('nope'), 'is not JSON'],
    [
      'another digest than a sha256',
      [descriptor()],
      configuration({ rootfs: { diff_ids: ['sha256:../../x'] } }),
      'no sha256 of each layer',
    ],
  ])('whose configuration tells of %s is shown with the reason', async (_, layers, config, reason) => {
    const lab = await LayeredLab.start();
    await tell(lab, layers, config);
    const { layered, unpresentable } = await resolved(await lab.session());
    expect(layered).toBeUndefined();
    expect(unpresentable).toContain(reason);
  });

  test('that claims to be larger than any file has a size that the kernel takes, and cannot be opened', async () => {
    const lab = await LayeredLab.start();
    await tell(lab, Array(1000).fill(descriptor(Number.MAX_SAFE_INTEGER)), configuration({}, 1000));
    const on = await lab.session();
    expect((await resolved(on)).size).toBe(Number.MAX_SAFE_INTEGER);
    await expect(lab.open(on, 'lab://demo/app:1')).rejects.toMatchObject({
      code: expect.stringMatching(/SERVICE|NO_SPACE/),
    });
  });

  test.each([0, LAYER.blob.length - 5, LAYER.blob.length + 5])(
    'whose manifest says that its layer has %i bytes is an error',
    async (size) => {
      const lab = await LayeredLab.start();
      await lab.push('real', [LAYER]);
      await tell(lab, [descriptor(size)], configuration());
      const on = await lab.session();
      await expect(lab.open(on, 'lab://demo/app:1')).rejects.toMatchObject({
        code: size === 0 ? 'CORRUPT' : 'SERVICE',
        message: expect.stringContaining('layer 1 of 1'),
      });
      expect(on.cache.list()).toEqual([]);
    },
  );

  test('whose configuration has values of other types has those that are right', async () => {
    const lab = await LayeredLab.start();
    await lab.push('real', [LAYER]);
    const config = {
      Env: [1, null, ['B=2'], 'A=1'],
      Cmd: 'a text',
      Entrypoint: [['x'], '/a'],
      Labels: { number: 1, constructor: 'y', owner: 'lab' },
    };
    await tell(lab, [descriptor()], configuration({ config, created: '9999-99-99' }));
    await using image = await lab.open(await lab.session(), 'lab://demo/app:1');
    expect(await fileIn(image, '/.singularity.d/env/10-docker2singularity.sh')).toBe(
      `#!/bin/sh\n[ -n "\${A:-}" ] || A='1'\nexport A\n`,
    );
    expect(JSON.parse((await fileIn(image, '/.singularity.d/labels.json')) ?? '')).toMatchObject({
      constructor: 'y',
      owner: 'lab',
    });
  });
});

/** Each with contents of its own: what is in the cache under the digest of an archive is not fetched again. */
const blobs: [string, 'gzip' | 'zstd', (layer: Layer) => Buffer, string | undefined][] = [
  ['zeros behind it', 'gzip', ({ blob }) => Buffer.concat([blob, Buffer.alloc(1000)]), undefined],
  // Not with a zero first: zlib passes over what follows one.
  [
    'garbage behind it',
    'gzip',
    ({ blob }) => Buffer.concat([blob, Buffer.from('x'), randomBytes(200_000)]),
    'CORRUPT',
  ],
  ['its checksum cut off', 'gzip', ({ blob }) => blob.subarray(0, -4), 'CORRUPT'],
  ['its end cut off', 'zstd', ({ blob }) => blob.subarray(0, -3), 'CORRUPT'],
  ['garbage behind it', 'zstd', ({ blob }) => Buffer.concat([blob, Buffer.from('garbage!')]), 'CORRUPT'],
  [
    'a frame to skip before it',
    'zstd',
    ({ blob }) => Buffer.concat([Buffer.from('502a4d1803000000010203', 'hex'), blob]),
    undefined,
  ],
  ['no compression', 'gzip', ({ tar }) => tar, undefined],
  ['one byte', 'gzip', () => Buffer.from('x'), 'CORRUPT'],
];

needs({ registry: true })('a layer', () => {
  test.each(blobs)('with %s (%s) is read, or an error', async (what, compression, change, code) => {
    const lab = await LayeredLab.start();
    const right = layerOf(
      tarOf([{ path: 'a', data: `${what} ${compression} ${'y'.repeat(3000)}` }]),
      compression,
    );
    await lab.push('1', [{ ...right, blob: change(right) }]);
    const on = await lab.session();
    if (code === undefined) {
      await using image = await lab.open(on, 'lab://demo/app:1');
      expect(await fileIn(image, '/a')).toContain(what);
    } else {
      await expect(lab.open(on, 'lab://demo/app:1')).rejects.toMatchObject({
        code,
        hint: expect.stringContaining('again'),
      });
      expect(on.cache.list()).toEqual([]);
    }
  });

  test('that ends inside an entry is an error, however right its digests are', async () => {
    const lab = await LayeredLab.start();
    const { tar } = layerOf(tarOf([{ path: 'a', data: 'z'.repeat(5000) }]));
    await lab.push('1', [layerOf(tar.subarray(0, 2000))]);
    await expect(lab.open(await lab.session(), 'lab://demo/app:1')).rejects.toMatchObject({
      code: 'NOT_AN_IMAGE',
      message: expect.stringContaining('ends inside an entry'),
    });
  });
});
