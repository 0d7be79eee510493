/** The lines the project is judged by: an image run from one service, and copied into another, through one mount. */
import { readFile } from 'node:fs/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { needs } from '../helpers/skip.ts';
import { type FakeGcs, startFakeGcs } from '../servers/fake-gcs.ts';
import { type FakeHub, startFakeHub } from '../servers/fake-hub.ts';
import { largeImage } from '../servers/images.ts';
import { fixture, World } from './support.ts';

let world: World;
let hub: FakeHub;
let gcs: FakeGcs;

needs({ fuse: true, apptainer: true, root: true })('one mount of hub and gcs', () => {
  beforeEach(async () => {
    world = await World.create();
    [hub, gcs] = await Promise.all([startFakeHub(), startFakeGcs()]);
    Object.assign(world.env, {
      SREGISTRY_HUB_BASE: `${hub.url}/api`,
      SREGISTRY_GOOGLE_STORAGE_BUCKET: gcs.bucket,
      SREGISTRY_GOOGLE_STORAGE_BASE: gcs.url,
    });
    await world.mount('--backend', 'hub', '--backend', 'gcs');
  });
  afterEach(async () => {
    await world.end();
    await Promise.all([hub.close(), gcs.close()]);
  });

  test('Apptainer runs images from both, of which little is fetched', async () => {
    const large = await readFile(await largeImage(200));
    hub.put('vsoch/hello-world:latest', large);
    gcs.put('lab/large:1.0.sif', large);
    await world.exec('hub/vsoch/hello-world:latest.simg', '/bin/true');
    await world.exec('gcs/lab/large:1.0.sif', '/bin/true');
    const { fetchedBytes } = await world.mounted();
    expect(fetchedBytes / large.length).toBeLessThan(0.1);
  });

  test('an image that is copied from one to the other arrives with its metadata', async () => {
    const bytes = await readFile(fixture('small-gzip.sif'));
    hub.put('vsoch/hello-world:latest', bytes);
    await world.ok('cp $MNT/hub/vsoch/hello-world:latest.simg $MNT/gcs/vsoch/hello-world:1.simg');
    const stored = gcs.objects.get('vsoch/hello-world:1.sif');
    expect(stored?.bytes.equals(bytes)).toBe(true);
    expect(stored?.resource.metadata).toMatchObject({ type: 'container', image: 'hello-world' });
    const labels = await world.ok(
      'getfattr --only-values -n user.sregistry.labels $MNT/gcs/vsoch/hello-world:1.simg',
    );
    expect(Object.keys(JSON.parse(labels))).toContain('org.label-schema.build-date');
    expect(await world.exec('gcs/vsoch/hello-world:1.simg', '/bin/echo', 'hello')).toBe('hello\n');
  });
});
