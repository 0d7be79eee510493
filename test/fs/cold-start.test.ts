/** What opening an image costs that is not on this machine, over a real registry. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { BLOCK_SIZE } from '../../src/cache/block-map.ts';
import { prune } from '../../src/client/cache.ts';
import type { Session } from '../../src/client/session.ts';
import { parseTarget } from '../../src/client/target.ts';
import { pushTrace } from '../../src/client/traces.ts';
import type { Filesystem } from '../../src/fs/filesystem.ts';
import type { RemoteImage } from '../../src/image/remote.ts';
import { needs } from '../helpers/skip.ts';
import { startRegistry, type TestRegistry } from '../servers/docker-registry.ts';
import { copyIn, image, openWorld } from './support.ts';

const PATH = '/lab/demo/small:1.0.simg';
const URI = 'lab://demo/small:1.0';
/** What a container reads of it, far enough from each other. */
const READS = [0, 14, 25].map((block) => block * BLOCK_SIZE);

let registry: TestRegistry;

const lab = () => ({ lab: { driver: 'oci', base: registry.url } });
/** Ranges of the image that the registry sent, in bytes. */
const sent = () => registry.log().filter(({ status }) => status === 206);

async function readSome(filesystem: Filesystem, offsets: readonly number[]): Promise<Buffer[]> {
  const handle = await filesystem.open(PATH, 0);
  try {
    const parts = offsets.map(() => Buffer.alloc(4096));
    for (const [i, offset] of offsets.entries())
      await filesystem.read(handle, parts[i] as Buffer, offset, 4096);
    return parts;
  } finally {
    await filesystem.release(handle);
  }
}

/** Evicts every image, once nobody has it open any more. */
const evict = (session: Session) =>
  vi.waitFor(() => {
    prune(session);
    expect(session.cache.list()).toEqual([]);
  });

needs({ registry: true })('a cold start', () => {
  beforeEach(async () => {
    registry = await startRegistry();
  });
  afterEach(() => registry.remove());

  test('An image that was started before is asked for what its start read, before anybody reads.', async () => {
    const bytes = await image('small-gzip.sif');
    const { filesystem, session } = await openWorld(lab());
    await copyIn(filesystem, PATH, bytes);
    await evict(session);
    await readSome(filesystem, READS);
    await evict(session);

    const before = sent().length;
    const handle = await filesystem.open(PATH, 0);
    await vi.waitFor(() => expect(sent()).toHaveLength(before + READS.length));
    expect(
      new Set(
        sent()
          .slice(before)
          .map((request) => request.bytes),
      ),
    ).toEqual(new Set([BLOCK_SIZE]));
    await filesystem.release(handle);
    const parts = await readSome(filesystem, READS);
    expect(parts).toEqual(READS.map((offset) => bytes.subarray(offset, offset + 4096)));
    expect(sent()).toHaveLength(before + READS.length);
  });

  test('A trace that was pushed starts the image at once where it was never started.', async () => {
    const bytes = await image('small-gzip.sif');
    const { filesystem, session, stop } = await openWorld(lab());
    await copyIn(filesystem, PATH, bytes);
    const target = await parseTarget(URI, session);
    await expect(pushTrace(session, target)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await evict(session);
    await readSome(filesystem, READS);
    await evict(session);
    const pushed = await target.backend.resolve(target.name);
    await pushTrace(session, target);
    await stop();

    const elsewhere = await openWorld(lab());
    const before = sent().length;
    const handle = await elsewhere.filesystem.open(PATH, 0);
    await vi.waitFor(() => expect(sent()).toHaveLength(before + READS.length));
    await elsewhere.filesystem.release(handle);
    const { backend } = await parseTarget(URI, elsewhere.session);
    const found = await backend.resolve(target.name);
    expect(found).toMatchObject({ digest: pushed?.digest, revision: pushed?.revision });
    // A trace is nothing that people label images with.
    expect(found?.annotations).toEqual(pushed?.annotations);
    expect(await readSome(elsewhere.filesystem, READS)).toEqual(
      READS.map((offset) => bytes.subarray(offset, offset + 4096)),
    );
  });

  test.each(['[[0, 1e300]]', `[[0, ${2 ** 40}]]`, '{', '[[-1, 65536]]', 'x'.repeat(100_000)])(
    'A pushed trace that no start has written costs no more than the image, and reads are right (%#).',
    async (trace) => {
      const bytes = await image('small-gzip.sif');
      const { filesystem, session, stop } = await openWorld(lab());
      await copyIn(filesystem, PATH, bytes);
      const { backend, name } = await parseTarget(URI, session);
      await backend.keepTrace?.((await backend.resolve(name)) as RemoteImage, trace);
      await stop();
      const elsewhere = await openWorld(lab());
      expect(await readSome(elsewhere.filesystem, READS)).toEqual(
        READS.map((offset) => bytes.subarray(offset, offset + 4096)),
      );
      expect(elsewhere.session.cache.fetchedBytes).toBeLessThanOrEqual(bytes.length);
    },
  );

  test('A trace is not pushed over what others have pushed meanwhile.', async () => {
    const { filesystem, session } = await openWorld(lab());
    await copyIn(filesystem, PATH, await image('small-gzip.sif'));
    const { backend, name } = await parseTarget(URI, session);
    const before = (await backend.resolve(name)) as RemoteImage;
    await copyIn(filesystem, PATH, await image('small-zstd.sif'));
    await expect(backend.keepTrace?.(before, '[[0,65536]]')).rejects.toMatchObject({ code: 'STALE' });
    expect((await backend.resolve(name))?.digest).not.toBe(before.digest);
  });
});
