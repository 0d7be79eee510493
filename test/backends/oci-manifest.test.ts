import { expect, test } from 'vitest';
import {
  fittingManifests,
  imageLayer,
  parseManifest,
  whyUnpresentable,
} from '../../src/backends/oci/manifest.ts';
import { parsePlatform } from '../../src/base/platform.ts';

const DIGEST = `sha256:${'0'.repeat(64)}`;
const SIF = 'application/vnd.sylabs.sif.layer.v1.sif';
const descriptor = (mediaType: string, more = {}) => ({ mediaType, digest: DIGEST, size: 10, ...more });
const AMD64 = parsePlatform('amd64');
const entry = (architecture: string, variant?: string) =>
  descriptor(['m', architecture, variant].filter(Boolean).join('/'), {
    platform: { os: 'linux', architecture, variant },
  });
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

test('the reason says what is there instead', () => {
  const config = descriptor('application/vnd.oci.image.config.v1+json');
  const layer = descriptor('application/vnd.oci.image.layer.v1.tar+gzip+encrypted');
  expect(whyUnpresentable(parse({ config, layers: [layer, layer] }), AMD64)).toBe(
    'a Docker/OCI image with 2 layers (application/vnd.oci.image.layer.v1.tar+gzip+encrypted), ' +
      'of which one or the configuration has an unknown type',
  );
  const signature = { config: descriptor('x/config'), layers: [descriptor('x/simplesigning')] };
  expect(whyUnpresentable(parse(signature), AMD64)).toBe(
    'not a Singularity image but x/config with 1 layer (x/simplesigning)',
  );
});

test('of an index, this machine sees its own architecture first, then what names none', () => {
  const all = [entry('arm64'), descriptor('m/any'), entry('amd64'), descriptor('m/any')];
  const { manifests = [] } = parse({ manifests: all });
  expect(fittingManifests(manifests, AMD64).map(({ mediaType }) => mediaType)).toEqual([
    'm/amd64',
    'm/any',
    'm/any',
  ]);
});

test('of an index with variants, the best that the machine runs comes first', () => {
  const all = ['v5', 'v8', 'v7', 'v6'].map((variant) => entry('arm', variant));
  const { manifests = [] } = parse({ manifests: [...all, entry('arm64', 'v8')] });
  const fitting = (arch: string) =>
    fittingManifests(manifests, parsePlatform(arch)).map(({ mediaType }) => mediaType);
  expect(fitting('arm/v7')).toEqual(['m/arm/v7', 'm/arm/v6', 'm/arm/v5']);
  expect(fitting('armel')).toEqual(['m/arm/v6', 'm/arm/v5']);
  expect(fitting('aarch64')).toEqual(['m/arm64/v8']);
  expect(fitting('amd64')).toEqual([]);
});

test('of an index for other machines, the reason names its platforms and the option to choose one', () => {
  const why = (manifests: object[]) => whyUnpresentable(parse({ manifests }), AMD64);
  const attestation = descriptor('m', { platform: { os: 'unknown', architecture: 'unknown' } });
  expect(why([entry('arm', 'v7'), entry('s390x'), entry('s390x'), attestation])).toBe(
    'an image for linux/arm/v7, linux/s390x, not for linux/amd64; choose one with --arch, such as --arch arm/v7',
  );
  const windows = descriptor('m', { platform: { os: 'windows', architecture: 'amd64' } });
  expect(why([windows])).toBe('an image for windows/amd64, not for linux/amd64');
  const hostile = descriptor('m', { platform: { os: 'linux\n\u001b[2J', architecture: 'x' } });
  expect(why([hostile])).toBe('an index of 1 manifests, none of them a container image for linux/amd64');
  expect(why([entry('amd64')])).toBe(
    'an index of 1 manifests, none of them a container image for linux/amd64',
  );
  expect(why(Array.from({ length: 50 }, (_, number) => entry(`a${number}`))).length).toBeLessThan(400);
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
