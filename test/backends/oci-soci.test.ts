/** Which of the SOCI indexes that refer to an image the driver chooses, from a registry with the referrers API. */
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import type { Backend } from '../../src/backends/backend.ts';
import oci from '../../src/backends/oci/index.ts';
import type { SociChoice } from '../../src/backends/oci/soci-option.ts';
import { type FakeRegistry, startFakeRegistry } from '../servers/fake-registry.ts';
import {
  describe as descriptorOf,
  layerOf,
  type PushedImage,
  pushLayered,
  tarOf,
} from '../servers/layered.ts';
import { pushReferringIndex, pushSociIndex, SOCI_1 } from '../servers/soci.ts';

const CREATED = 'org.opencontainers.image.created';
const layer = layerOf(tarOf([{ path: 'a', data: 'a' }]));
const other = layerOf(tarOf([{ path: 'b', data: 'b' }]));
/** The driver compares no ztoc; the client does. */
const ztocs = ['0', '1', '2'].map((text) => Buffer.from(`ztoc ${text}`)) as [Buffer, Buffer, Buffer];

describe('Of the indexes that refer to an image', () => {
  let spec: FakeRegistry;
  let image: PushedImage;
  beforeEach(async () => {
    // Pages of one, so that no test sees the first page alone.
    spec = await startFakeRegistry({ pageSize: 1 });
    onTestFinished(() => spec.close());
    image = await pushLayered(spec.url, 'demo/app', '1', [layer]);
  });

  const refer = (ztoc: Buffer, created?: string, of = layer, subject = image) =>
    pushReferringIndex(
      spec.url,
      'demo/app',
      subject,
      [{ layer: of, ztoc }],
      created === undefined ? {} : { [CREATED]: created },
    );

  const open = (soci: SociChoice | undefined): Backend => {
    const options = {
      base: spec.url,
      username: undefined,
      password: undefined,
      nohttps: undefined,
      arch: undefined,
      soci,
    };
    const backend = oci.create({ name: 'lab', options, env: { HOME: '/nonexistent' } });
    onTestFinished(() => backend.close?.());
    return backend;
  };
  const resolve = async ({ soci }: { soci?: SociChoice | undefined } = { soci: 'referrers' }) => {
    const found = await open(soci).resolve({ collection: 'demo', image: 'app', tag: '1' });
    expect(found?.layered?.layers).toHaveLength(1);
    return { ztoc: found?.layered?.layers[0]?.ztoc, revision: found?.revision };
  };
  const blobOf = (ztoc: Buffer) => expect.objectContaining({ digest: descriptorOf(ztoc, '').digest });

  test('the newest counts, and one without a time is the oldest.', async () => {
    await refer(ztocs[0], '2024-01-01T00:00:00Z');
    const newest = await refer(ztocs[1], '2025-01-01T01:00:00+02:00');
    await refer(ztocs[2], '2024-12-31T00:00:00Z');
    await refer(Buffer.from('undated'));
    const { ztoc, revision } = await resolve();
    expect(ztoc).toEqual(blobOf(ztocs[1]));
    expect(revision).toContain(newest.digest);
  });

  test('the one with the least digest counts if they are as old.', async () => {
    const pushed = await Promise.all(
      ztocs.map(async (ztoc) => ({ ztoc, digest: (await refer(ztoc)).digest })),
    );
    pushed.sort((a, b) => (a.digest < b.digest ? -1 : 1));
    expect((await resolve()).ztoc).toEqual(blobOf(pushed[0]?.ztoc as Buffer));
  });

  test('those of other types, other layers or absurd sizes do not count, nor those that are malformed.', async () => {
    await refer(ztocs[0], '2020-01-01T00:00:00Z');
    await refer(ztocs[1], '2025-01-01T00:00:00Z', other);
    const annotations = { [CREATED]: '2026-01-01T00:00:00Z' };
    const manifest = {
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      subject: image,
      annotations,
      layers: [],
    };
    const config = descriptorOf(Buffer.from('{}'), SOCI_1);
    const referring = { ...manifest, config };
    const signature = { ...manifest, artifactType: 'application/vnd.example' };
    // As many as would leave no room for an index.
    for (let number = 0; number < 10; number += 1)
      spec.putManifest('demo/app', `signature-${number}`, { ...signature, number });
    spec.putManifest('demo/app', 'malformed', { ...referring, layers: ['?'] });
    spec.putManifest('demo/app', 'long', { ...referring, padding: 'x'.repeat(4 * 1024 * 1024) });
    expect((await resolve()).ztoc).toEqual(blobOf(ztocs[0]));
    const long = [...spec.manifests].find(([, { bytes }]) => bytes.length > 4 * 1024 * 1024);
    const [, digest = '?'] = long?.[0].split('@') ?? [];
    expect(spec.requests.filter(({ url }) => url.endsWith(digest))).toEqual([]);
  });

  test('one that says that it refers to another image does not count, whatever the registry lists.', async () => {
    const others = await pushLayered(spec.url, 'demo/app', '2', [layer, other]);
    const index = await refer(ztocs[0], undefined, layer, others);
    const list = {
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.index.v1+json',
      manifests: [index],
    };
    const lying = await startFakeRegistry({
      fault: (request, response) => {
        if (!request.url?.includes('/referrers/')) return false;
        response.end(JSON.stringify(list));
        return true;
      },
    });
    onTestFinished(() => lying.close());
    for (const [key, manifest] of spec.manifests) lying.manifests.set(key, manifest);
    for (const [key, blob] of spec.blobs) lying.blobs.set(key, blob);
    spec = lying;
    expect((await resolve()).ztoc).toBeUndefined();
    expect(lying.requests.some(({ url }) => url.endsWith(index.digest))).toBe(true);
  });

  test('none counts if the image names one itself.', async () => {
    const named = await pushSociIndex(spec.url, 'demo/app', [{ layer, ztoc: ztocs[0] }]);
    image = await pushLayered(spec.url, 'demo/app', '1', [layer], {}, undefined, named);
    await refer(ztocs[1]);
    expect((await resolve()).ztoc).toEqual(blobOf(ztocs[0]));
    expect(spec.requests.filter(({ url }) => url.includes('/referrers/'))).toEqual([]);
  });

  test.each(['annotation', 'off', undefined] as const)('none is asked for with soci=%s.', async (soci) => {
    await refer(ztocs[0]);
    const before = spec.requests.length;
    expect((await resolve({ soci })).ztoc).toBeUndefined();
    const asked = spec.requests.slice(before).map(({ url }) => url);
    expect(asked.filter((url) => /referrers|sha256-/.test(url))).toEqual([]);
  });

  test('none counts if the registry fails to list them, and the image is there all the same.', async () => {
    await refer(ztocs[0]);
    const { manifests, blobs } = spec;
    spec = await startFakeRegistry({
      fault: (request, response) => {
        if (!request.url?.includes('/referrers/')) return false;
        response.writeHead(403).end();
        return true;
      },
    });
    onTestFinished(() => spec.close());
    for (const [key, manifest] of manifests) spec.manifests.set(key, manifest);
    for (const [key, blob] of blobs) spec.blobs.set(key, blob);
    expect((await resolve()).ztoc).toBeUndefined();
  });
});
