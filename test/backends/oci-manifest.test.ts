import { expect, test } from 'vitest';
import {
  fittingManifests,
  imageLayer,
  parseManifest,
  whyUnpresentable,
} from '../../src/backends/oci/manifest.ts';

const DIGEST = `sha256:${'0'.repeat(64)}`;
const SIF = 'application/vnd.sylabs.sif.layer.v1.sif';
const descriptor = (mediaType: string, more = {}) => ({ mediaType, digest: DIGEST, size: 10, ...more });
const parse = (manifest: object) =>
  parseManifest(Buffer.from(JSON.stringify(manifest)), 'from/header; a=b', 'x');

test.each([
  SIF,
  'application/vnd.sylabs.sif.layer.tar',
  'appliciation/vnd.sylabs.sif.layer.tar',
  'application/vnd.stacker.image.layer.squashfs',
  'application/vnd.oci.image.layer.v1.squashfs+zstd',
])('one layer of type %s is an image', (type) => {
  expect(imageLayer(parse({ layers: [descriptor(type)] }))?.digest).toBe(DIGEST);
});

test.each([
  ['two layers', { layers: [descriptor(SIF), descriptor(SIF)] }],
  ['no layer', { layers: [] }],
  ['a layer of another type', { layers: [descriptor('application/vnd.oci.image.layer.v1.tar+gzip')] }],
  ['an index', { layers: [descriptor(SIF)], manifests: [] }],
])('%s is no image', (_, manifest) => {
  expect(imageLayer(parse(manifest))).toBeUndefined();
});

test('the reason says what is there instead, and what to do', () => {
  const layer = descriptor('application/vnd.docker.image.rootfs.diff.tar.gzip');
  expect(whyUnpresentable(parse({ layers: [layer, layer] }))).toBe(
    'a Docker/OCI image with 2 layers (application/vnd.docker.image.rootfs.diff.tar.gzip): ' +
      'not a single-file image; convert it with `apptainer build`',
  );
  const signature = { config: descriptor('x/config'), layers: [descriptor('x/simplesigning')] };
  expect(whyUnpresentable(parse(signature))).toBe(
    'not a Singularity image but x/config with 1 layer (x/simplesigning)',
  );
});

test('of an index, this machine sees its own architecture first, then what names none', () => {
  const entry = (architecture: string) =>
    descriptor(`m/${architecture}`, { platform: { os: 'linux', architecture } });
  const { manifests = [] } = parse({ manifests: [entry('arm64'), descriptor('m/any'), entry('amd64')] });
  expect(fittingManifests(manifests, 'x64').map(({ mediaType }) => mediaType)).toEqual(['m/amd64', 'm/any']);
});

test.each([
  ['not JSON', 'nope'],
  ['a list', '[]'],
  ['layers that are no list', '{"layers":{}}'],
  ['a size that is negative', JSON.stringify({ layers: [descriptor(SIF, { size: -1 })] })],
  ['a size that is no number', JSON.stringify({ layers: [descriptor(SIF, { size: '10' })] })],
  ['a size beyond what is exact', JSON.stringify({ layers: [descriptor(SIF, { size: 2 ** 60 })] })],
  ['a digest that is a path', JSON.stringify({ layers: [descriptor(SIF, { digest: '../../etc' })] })],
])('a manifest that is %s is the error SERVICE', (_, text) => {
  expect(() => parseManifest(Buffer.from(text), '', 'x')).toThrow(
    expect.objectContaining({ code: 'SERVICE' }),
  );
});

test('annotations that are no text are left out, and the type may come from the header', () => {
  const manifest = parse({ annotations: { a: 'b', c: 1, d: null } });
  expect([manifest.annotations, manifest.mediaType]).toEqual([{ a: 'b' }, 'from/header']);
});
