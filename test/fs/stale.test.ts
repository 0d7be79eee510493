/** What is remembered of an image may be outdated when it is used: on Cloud Storage, in-process. */
import { randomBytes } from 'node:crypto';
import { constants as os } from 'node:os';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Backend } from '../../src/backends/backend.ts';
import type { Session } from '../../src/client/session.ts';
import { type FakeGcs, startFakeGcs } from '../servers/fake-gcs.ts';
import { errnoOfCall, image, openWorld, readFileAt } from './support.ts';

const { ESTALE } = os.errno;
const PATH = '/lab/demo/small:1.0.sif';
const OBJECT = 'demo/small:1.0.sif';
const NAME = { collection: 'demo', image: 'small', tag: '1.0' };

let service: FakeGcs;
let small: Buffer;

beforeEach(async () => {
  service = await startFakeGcs();
  small = await image('small-gzip.sif');
});
afterEach(() => service.close());

const open = () =>
  openWorld({ lab: { driver: 'gcs', bucket: 'images', base: service.url } }, { allowDelete: true });

async function remembered(session: Session, backend: Backend) {
  const found = await session.metadata.images.resolve(backend, NAME);
  if (found === undefined) throw new Error('the image is not there');
  return found;
}

/** Remembers the image as an earlier version of the driver did, which called the key `object`. */
async function rememberOld({ session }: Awaited<ReturnType<typeof open>>) {
  const backend = await session.backend('lab');
  const now = await remembered(session, backend);
  const old = { ...now, handle: { object: OBJECT, generation: now.revision } };
  session.metadata.images.put(backend, NAME, old);
  return { backend, old };
}

describe('an image whose handle an earlier version of the driver wrote', () => {
  test('is looked up anew when it is read', async () => {
    service.put(OBJECT, small);
    const world = await open();
    const { backend, old } = await rememberOld(world);
    await expect(backend.read(old, 0, 1)).rejects.toMatchObject({ code: 'STALE' });
    expect((await readFileAt(world.filesystem, PATH)).equals(small)).toBe(true);
    expect((await remembered(world.session, backend)).handle).toMatchObject({ key: OBJECT });
  });

  test('is looked up anew when it is renamed and removed', async () => {
    service.put(OBJECT, small);
    const world = await open();
    await rememberOld(world);
    await world.filesystem.rename(PATH, '/lab/demo/small:2.0.sif');
    expect([...service.objects.keys()]).toEqual(['demo/small:2.0.sif']);
    service.put(OBJECT, small);
    world.session.metadata.forget(await world.session.backend('lab'));
    await rememberOld(world);
    await world.filesystem.unlink(PATH);
    expect([...service.objects.keys()]).toEqual(['demo/small:2.0.sif']);
  });
});

describe('an image that was replaced in its service', () => {
  test('is ESTALE for its reader, and the new one for whoever opens it again', async () => {
    service.put(OBJECT, small);
    const { filesystem } = await open();
    const handle = await filesystem.open(PATH, 0);
    const other = randomBytes(small.length);
    service.put(OBJECT, other);
    const part = Buffer.alloc(4096);
    expect(await errnoOfCall(filesystem.read(handle, part, 0, part.length))).toBe(ESTALE);
    await filesystem.release(handle);
    expect((await readFileAt(filesystem, PATH)).equals(other)).toBe(true);
  });

  test('is asked for once, however many reads find it gone', async () => {
    service.put(OBJECT, small);
    const { filesystem } = await open();
    const handle = await filesystem.open(PATH, 0);
    service.put(OBJECT, randomBytes(small.length));
    const before = service.requests.length;
    const reads = Array.from({ length: 8 }, () =>
      errnoOfCall(filesystem.read(handle, Buffer.alloc(4096), 0, 4096)),
    );
    expect(new Set(await Promise.all(reads))).toEqual(new Set([ESTALE]));
    const lookups = service.requests.slice(before).filter(({ url }) => !url?.includes('alt=media'));
    expect(lookups).toHaveLength(1);
    await filesystem.release(handle);
  });
});
