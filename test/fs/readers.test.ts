/** One rule for readers and writers of an image, held over a real registry: bytes of two revisions never mix. */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { constants as os } from 'node:os';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { SregistryError } from '../../src/base/errors.ts';
import { needs } from '../helpers/skip.ts';
import { smallDisk } from '../helpers/small-disk.ts';
import { startRegistry, type TestRegistry } from '../servers/docker-registry.ts';
import { Kernel } from './kernel.ts';
import { errnoOfCall, image, openWorld, stagedFiles, type WorldOptions, writeAll } from './support.ts';

const { EBUSY, EEXIST, EHOSTUNREACH, ENOENT, ENOSPC, EPERM, ESTALE, ETXTBSY } = os.errno;
const { O_CREAT, O_RDWR, O_TRUNC, O_WRONLY } = constants;
const IMAGE = '/lab/demo/image:1.sif';

let registry: TestRegistry;
let small: Buffer;
let other: Buffer;

async function open(options: WorldOptions = {}) {
  const world = await openWorld({ lab: { driver: 'oci', base: registry.url } }, options);
  return { ...world, kernel: new Kernel(world.filesystem) };
}

/** Pushes an image to the registry as somebody else does. */
async function publishElsewhere(bytes: Buffer): Promise<void> {
  const { kernel, stop } = await open();
  await kernel.copyIn(IMAGE, bytes);
  await stop();
}

/** What the registry has, asked by a world that knows nothing. */
async function stored(): Promise<Buffer | undefined> {
  const { kernel, stop } = await open();
  const bytes = await kernel.readFile(IMAGE).catch(() => undefined);
  await stop();
  return bytes;
}

function useRegistry(): void {
  beforeEach(async () => {
    registry = await startRegistry();
    small = await image('small-gzip.sif');
    other = await image('small-zstd.sif');
    await publishElsewhere(small);
  });
  afterEach(() => registry.remove());
}

needs({ registry: true })('readers and writers', () => {
  useRegistry();

  test('Opening for writing what is open for reading gives ETXTBSY, whatever the spelling of its name.', async () => {
    const { kernel, filesystem } = await open();
    const reader = await kernel.open(IMAGE);
    for (const path of [IMAGE, '/lab/demo/image:1.simg']) {
      for (const flags of [O_WRONLY, O_RDWR, O_WRONLY | O_CREAT | O_TRUNC])
        expect(await errnoOfCall(kernel.open(path, flags))).toBe(ETXTBSY);
      expect(await errnoOfCall(filesystem.truncate(path, 0))).toBe(ETXTBSY);
      expect(await errnoOfCall(filesystem.create(path))).toBe(ETXTBSY);
    }
    expect((await kernel.readAll(reader)).equals(small)).toBe(true);
    await kernel.close(reader);
    await kernel.copyIn(IMAGE, other);
    expect((await stored())?.equals(other)).toBe(true);
  });

  test('A rename over an open image replaces the name, and its readers keep their revision.', async () => {
    for (const allowDelete of [false, true]) {
      const { kernel } = await open({ allowDelete });
      await kernel.copyIn(IMAGE, small);
      const reader = await kernel.open(IMAGE);
      const first = Buffer.alloc(4096);
      await kernel.filesystem.read(reader, first, 0, first.length);
      await kernel.copyIn('/lab/demo/.image:1.sif.Xy12', other);
      await kernel.rename('/lab/demo/.image:1.sif.Xy12', IMAGE);
      expect((await kernel.readFile(IMAGE)).equals(other)).toBe(true);
      expect((await kernel.readAll(reader)).equals(small)).toBe(true);
      await kernel.close(reader);
      expect((await stored())?.equals(other)).toBe(true);
    }
  });

  test('a rename over an image that is open under another spelling gives EBUSY', async () => {
    const { kernel } = await open();
    const reader = await kernel.open('/lab/demo/image:1.simg');
    await kernel.copyIn('/lab/demo/.tmp', other);
    expect(await errnoOfCall(kernel.rename('/lab/demo/.tmp', IMAGE))).toBe(EBUSY);
    expect((await kernel.readAll(reader)).equals(small)).toBe(true);
    await kernel.close(reader);
    await kernel.rename('/lab/demo/.tmp', IMAGE);
    expect((await kernel.readFile(IMAGE)).equals(other)).toBe(true);
  });

  test('An update in place starts from what the registry has, never from what it had.', async () => {
    const { kernel, filesystem } = await open();
    expect((await filesystem.getattr(IMAGE)).size).toBe(small.length);
    await publishElsewhere(other);
    const handle = await kernel.open(IMAGE, O_RDWR);
    const change = () => filesystem.write(handle, Buffer.from('#!/usr/bin/env RUN'), 0, 18);
    expect(await errnoOfCall(change())).toBe(ESTALE);
    await kernel.close(handle).catch(() => {});
    expect((await stored())?.equals(other)).toBe(true);
    const again = await kernel.open(IMAGE, O_RDWR);
    await filesystem.write(again, Buffer.from('#!/usr/bin/env RUN'), 0, 18);
    await kernel.close(again);
    expect((await stored())?.subarray(18).equals(other.subarray(18))).toBe(true);
  });

  test('a rename that fails leaves the open image it was to replace, and its own', async () => {
    const { kernel, session, filesystem } = await open({ allowDelete: true });
    await kernel.copyIn('/lab/demo/source:1.sif', other);
    const backend = await session.backend('lab');
    const copy = vi
      .spyOn(backend as Required<typeof backend>, 'copy')
      .mockRejectedValue(new SregistryError('UNREACHABLE', 'The registry is away'));
    const reader = await kernel.open(IMAGE);
    expect(await errnoOfCall(kernel.rename('/lab/demo/source:1.sif', IMAGE))).toBe(EHOSTUNREACH);
    copy.mockRestore();
    await filesystem.idle();
    expect((await kernel.readFile(IMAGE)).equals(small)).toBe(true);
    expect((await stored())?.equals(small)).toBe(true);
    await kernel.close(reader);
  });

  test('with --no-overwrite a rename over an open tag gives EEXIST, and both stay', async () => {
    const { kernel } = await open({ noOverwrite: true });
    const reader = await kernel.open(IMAGE);
    await kernel.copyIn('/lab/demo/.tmp', other);
    expect(await errnoOfCall(kernel.rename('/lab/demo/.tmp', IMAGE))).toBe(EEXIST);
    await kernel.close(reader);
    expect((await stored())?.equals(small)).toBe(true);
  });

  test('A published image that a reader has open is not written over, even if its writer still has it open.', async () => {
    const { kernel, filesystem } = await open();
    const writer = await kernel.open('/lab/demo/new:1.sif', O_RDWR | O_CREAT);
    await writeAll(filesystem, writer, small);
    const early = await kernel.open('/lab/demo/new:1.sif');
    await filesystem.flush(writer);
    const reader = await kernel.open('/lab/demo/new:1.simg');
    expect(await errnoOfCall(kernel.open('/lab/demo/new:1.sif', O_WRONLY | O_TRUNC))).toBe(ETXTBSY);
    expect(await errnoOfCall(filesystem.write(writer, other, 0, 4096))).toBe(ETXTBSY);
    expect((await kernel.readAll(reader)).equals(small)).toBe(true);
    await kernel.close(reader);
    await filesystem.write(writer, Buffer.from('#!/usr/bin/env RUN'), 0, 18);
    await kernel.close(early);
    await kernel.close(writer);
    expect((await kernel.readFile('/lab/demo/new:1.sif')).subarray(0, 18).toString()).toBe(
      '#!/usr/bin/env RUN',
    );
  });

  test('`rm` of an open image takes its name at once and the image soon after; its readers keep what they opened', async () => {
    const { kernel, filesystem } = await open({ allowDelete: true });
    const reader = await kernel.open(IMAGE);
    await kernel.readAll(reader);
    await kernel.unlink(IMAGE);
    expect(await errnoOfCall(filesystem.getattr(IMAGE))).toBe(ENOENT);
    expect(await filesystem.readdir('/lab/demo')).toEqual([]);
    expect((await kernel.readAll(reader)).equals(small)).toBe(true);
    await vi.waitFor(async () => expect(await stored()).toBeUndefined(), { timeout: 30_000 });
    await kernel.close(reader);
  });

  test('`rm` of an open image without --allow-delete gives EPERM, and it stays', async () => {
    const { kernel } = await open();
    const reader = await kernel.open(IMAGE);
    expect(await errnoOfCall(kernel.unlink(IMAGE))).toBe(EPERM);
    expect((await kernel.readAll(reader)).equals(small)).toBe(true);
    await kernel.close(reader);
    expect((await stored())?.equals(small)).toBe(true);
  });

  test('what is written to a name right after `rm` of the open image there is not removed', async () => {
    const { kernel } = await open({ allowDelete: true });
    const reader = await kernel.open(IMAGE);
    await kernel.unlink(IMAGE);
    await kernel.copyIn(IMAGE, other);
    await kernel.close(reader);
    expect((await kernel.readFile(IMAGE)).equals(other)).toBe(true);
    expect((await stored())?.equals(other)).toBe(true);
  });

  test('A tag that others move shows the revision that `stat` saw last, then the new one.', async () => {
    const { kernel, filesystem, session } = await open();
    await filesystem.getattr(IMAGE);
    await publishElsewhere(other);
    expect((await filesystem.getattr(IMAGE)).size).toBe(small.length);
    session.metadata.forget(await session.backend('lab'));
    const old = await filesystem.open(IMAGE, 0);
    expect((await filesystem.getattr(IMAGE)).size).toBe(small.length);
    expect((await kernelBytes(filesystem, old)).equals(small)).toBe(true);
    await filesystem.release(old);
    expect((await filesystem.getattr(IMAGE)).size).toBe(other.length);
    expect((await kernel.readFile(IMAGE)).equals(other)).toBe(true);
  });

  test('an image whose signatures are looked at stays at its revision meanwhile', async () => {
    const looking = Promise.withResolvers<void>();
    const go = Promise.withResolvers<void>();
    const verify = async () => {
      looking.resolve();
      await go.promise;
    };
    const { filesystem, session } = await open({ verify });
    const opening = filesystem.open(IMAGE, 0);
    await looking.promise;
    await publishElsewhere(other);
    session.metadata.forget(await session.backend('lab'));
    expect((await filesystem.getattr(IMAGE)).size).toBe(small.length);
    const second = filesystem.open(IMAGE, 0);
    go.resolve();
    for (const handle of await Promise.all([opening, second])) {
      expect((await kernelBytes(filesystem, handle)).equals(small)).toBe(true);
      await filesystem.release(handle);
    }
  });

  test('what is read right after a close was not fetched, and is what was closed', async () => {
    const { kernel, session, staging } = await open();
    for (let round = 0; round < 10; round += 1) {
      const bytes = round % 2 === 0 ? other : small;
      const handle = await kernel.open(IMAGE, O_WRONLY | O_CREAT | O_TRUNC);
      await writeAll(kernel.filesystem, handle, bytes);
      await kernel.filesystem.flush(handle);
      const released = kernel.release(handle);
      expect((await kernel.readFile(IMAGE)).equals(bytes)).toBe(true);
      await released;
    }
    await staging.idle();
    expect(session.cache.fetchedBytes).toBe(0);
    expect(await stagedFiles(session)).toEqual([]);
  });

  test('bytes that were pushed never count as those of a revision that others pushed after them', async () => {
    const { kernel, session } = await open();
    const padded = Buffer.concat([other, Buffer.alloc(small.length - other.length)]);
    const handle = await kernel.open(IMAGE, O_WRONLY | O_CREAT | O_TRUNC);
    await writeAll(kernel.filesystem, handle, padded);
    await kernel.filesystem.flush(handle);
    await publishElsewhere(small);
    session.metadata.forget(await session.backend('lab'));
    await kernel.release(handle);
    expect((await kernel.readFile(IMAGE)).equals(small)).toBe(true);
  });

  test('a reader and a writer that come at the same time never share bytes of two revisions', async () => {
    for (let round = 0; round < 10; round += 1) {
      const { kernel, session, stop } = await open();
      session.metadata.forget(await session.backend('lab'));
      const before = await stored();
      const next = before?.equals(small) ? other : small;
      const [reading, writing] = await Promise.allSettled([
        kernel.open(IMAGE),
        kernel.open(IMAGE, O_WRONLY | O_CREAT | O_TRUNC),
      ]);
      if (writing.status === 'fulfilled') {
        await writeAll(kernel.filesystem, writing.value, next);
        await kernel.close(writing.value);
      }
      if (reading.status === 'fulfilled') {
        const bytes = await kernel.readAll(reading.value);
        expect(bytes.equals(writing.status === 'fulfilled' ? next : (before as Buffer))).toBe(true);
        await kernel.close(reading.value);
      }
      await stop();
    }
  });
});

needs({ registry: true, root: true })('a full disk', () => {
  useRegistry();

  test('A file being written takes the room of cached images if the disk is full.', async () => {
    const { root, fill } = await smallDisk(16);
    const { kernel, session, filesystem } = await open({
      home: root,
      session: { cacheMinFree: '0', cacheSize: '10M' },
    });
    await kernel.readFile(IMAGE);
    await kernel.copyIn('/lab/demo/cached:1.sif', Buffer.concat([small, randomBytes(2 * 1024 * 1024)]));
    await kernel.readFile('/lab/demo/cached:1.sif');
    expect(session.cache.bytes).toBeGreaterThan(2 * 1024 * 1024);
    fill();
    await kernel.copyIn('/lab/demo/written:1.sif', other);
    expect((await kernel.readFile('/lab/demo/written:1.sif')).equals(other)).toBe(true);
    expect((await kernel.readFile(IMAGE)).equals(small)).toBe(true);
    expect((await filesystem.getattr('/lab/demo/written:1.sif')).size).toBe(other.length);
  });

  test('files being written leave room for the database of the next mount', async () => {
    const { root } = await smallDisk(12);
    const options = { home: root, session: { cacheMinFree: '0', cacheSize: '10M' } };
    const { kernel, filesystem, stop } = await open(options);
    const writer = await kernel.open('/lab/demo/endless:1.sif', O_WRONLY | O_CREAT);
    const chunk = randomBytes(128 * 1024);
    const fillUp = async () => {
      for (let at = 0; ; at += chunk.length) await filesystem.write(writer, chunk, at, chunk.length);
    };
    expect(await errnoOfCall(fillUp())).toBe(ENOSPC);
    await kernel.release(writer);
    await stop();
    const next = await open(options);
    expect(next.session.state.journal.list()).toMatchObject([{ state: 'incomplete' }]);
  });
});

async function kernelBytes(filesystem: Kernel['filesystem'], handle: number): Promise<Buffer> {
  return new Kernel(filesystem).readAll(handle);
}
