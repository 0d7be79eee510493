/** What opening an image costs that is not on this machine, over a real registry. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { BLOCK_SIZE } from '../../src/cache/block-map.ts';
import { prune } from '../../src/client/cache.ts';
import type { Session } from '../../src/client/session.ts';
import type { Filesystem } from '../../src/fs/filesystem.ts';
import { needs } from '../helpers/skip.ts';
import { startRegistry, type TestRegistry } from '../servers/docker-registry.ts';
import { copyIn, image, openWorld } from './support.ts';

const PATH = '/lab/demo/small:1.0.simg';
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
});
