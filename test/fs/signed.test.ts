/** A filesystem that gives only signed images to read, in-process, over a directory and over a real registry. */
import { mkdir, readFile, utimes, writeFile } from 'node:fs/promises';
import { constants as os } from 'node:os';
import { join } from 'node:path';
import { beforeEach, expect, onTestFinished, test } from 'vitest';
import { openKeyRing, signaturesOf, verifyImage } from '../../src/client/signatures.ts';
import type { OpenFile } from '../../src/fs/handles.ts';
import { signedOnly, type Verify } from '../../src/fs/signed.ts';
import { needs } from '../helpers/skip.ts';
import { startRegistry } from '../servers/docker-registry.ts';
import { layerOf, pushLayered, tarOf } from '../servers/layered.ts';
import {
  copyIn,
  errnoOfCall,
  fixture,
  image,
  openWorld,
  readFileAt,
  temporaryFolder,
  writeAll,
} from './support.ts';

const { EACCES, ESTALE } = os.errno;
const O_RDWR = 2;

let signed: Buffer;
let unsigned: Buffer;
let base: string;
/** Reads that verifying made. */
let reads: number;

beforeEach(async () => {
  signed = await image('small-signed.sif');
  unsigned = await image('small-gzip.sif');
  base = await temporaryFolder();
  await mkdir(join(base, 'demo'));
  reads = 0;
});

async function requireSigned(): Promise<Verify> {
  const verify = signedOnly(await openKeyRing(fixture('signer.asc')));
  return (file, signal) => verify(counted(file), signal);
}

function counted(file: OpenFile): OpenFile {
  const { path, image, staged } = file;
  return {
    path,
    ...(image && { image }),
    ...(staged && { staged }),
    ...(file.settle && { settle: (signal) => file.settle?.(signal) as Promise<string> }),
    read(target, offset, length, signal) {
      reads += 1;
      return file.read(target, offset, length, signal);
    },
    close: () => file.close(),
  };
}

const onShelf = async () =>
  openWorld({ shelf: { driver: 'dir', base } }, { verify: await requireSigned(), session: { ttl: '0s' } });

/** The image with one byte changed. */
function altered(): Buffer {
  const bytes = Buffer.from(signed);
  bytes.writeUInt8(bytes.readUInt8(2_000_000) ^ 1, 2_000_000);
  return bytes;
}

test('an image that is as a key of the ring signed it is read; an altered, an unsigned and a foreign one are not', async () => {
  const { filesystem } = await onShelf();
  await writeFile(join(base, 'demo/good:1.sif'), signed);
  await writeFile(join(base, 'demo/altered:1.sif'), altered());
  await writeFile(join(base, 'demo/unsigned:1.sif'), unsigned);
  await writeFile(join(base, 'demo/old:1.sif'), await image('old-plain.sqsh'));
  expect((await readFileAt(filesystem, '/shelf/demo/good:1.sif')).equals(signed)).toBe(true);
  for (const [name, reason] of [
    ['altered', 'The data of object 3 was altered'],
    ['unsigned', 'It is not signed'],
    ['old', 'Only SIF images can be signed'],
  ]) {
    const opening = filesystem.open(`/shelf/demo/${name}:1.sif`, 0);
    expect(await errnoOfCall(opening), name).toBe(EACCES);
    await expect(opening).rejects.toThrow(reason);
  }
  expect(filesystem.openFiles).toBe(0);
});

test('What was verified is not verified again until its bytes change.', async () => {
  const { filesystem } = await onShelf();
  const path = '/shelf/demo/good:1.sif';
  await writeFile(join(base, 'demo/good:1.sif'), signed);
  await Promise.all([readFileAt(filesystem, path), readFileAt(filesystem, path)]);
  const both = reads;
  reads = 0;
  await readFileAt(filesystem, path);
  // Of what is signed the headers are looked at each time, the data once.
  expect(reads).toBeLessThanOrEqual(2);
  expect(both).toBeGreaterThan(2 * reads);
  await writeFile(join(base, 'demo/good:1.sif'), altered());
  expect(await errnoOfCall(readFileAt(filesystem, path))).toBe(EACCES);
});

test('An unsigned image can be written to a mount with --require-signed, but not read back.', async () => {
  const { filesystem } = await onShelf();
  await copyIn(filesystem, '/shelf/demo/mine:1.sif', unsigned);
  expect((await readFile(join(base, 'demo/mine:1.sif'))).equals(unsigned)).toBe(true);
  expect(await errnoOfCall(filesystem.open('/shelf/demo/mine:1.sif', 0))).toBe(EACCES);
  // Written over it is as well: what was there is not needed.
  const handle = await filesystem.open('/shelf/demo/mine:1.sif', O_RDWR);
  await filesystem.ftruncate(handle, 0);
  await writeAll(filesystem, handle, signed);
  await filesystem.flush(handle);
  await filesystem.release(handle);
  expect((await readFileAt(filesystem, '/shelf/demo/mine:1.sif')).equals(signed)).toBe(true);
});

test('what is being written is not read by others, and an unsigned image is not changed in place', async () => {
  const { filesystem } = await onShelf();
  const handle = await filesystem.create('/shelf/demo/half:1.sif');
  await writeAll(filesystem, handle, unsigned.subarray(0, 1_000_000));
  expect(await errnoOfCall(filesystem.open('/shelf/demo/half:1.sif', 0))).toBe(EACCES);
  await filesystem.release(handle);

  await writeFile(join(base, 'demo/unsigned:1.sif'), unsigned);
  const update = await filesystem.open('/shelf/demo/unsigned:1.sif', O_RDWR);
  expect(await errnoOfCall(filesystem.read(update, Buffer.alloc(64), 0, 64))).toBe(EACCES);
  expect(await errnoOfCall(filesystem.write(update, Buffer.alloc(64), 0, 64))).toBe(EACCES);
  await filesystem.release(update);
});

needs({ registry: true })('over a registry', () => {
  test('the bytes that are read are those that were verified: they are fetched once, and all', async () => {
    const registry = await startRegistry();
    onTestFinished(() => registry.remove());
    const lab = { lab: { driver: 'oci', base: registry.url } };
    const publisher = await openWorld(lab);
    await publisher.filesystem.mkdir('/lab/demo');
    await copyIn(publisher.filesystem, '/lab/demo/good:1.simg', signed);
    await copyIn(publisher.filesystem, '/lab/demo/bad:1.simg', unsigned);
    await publisher.stop();

    const { filesystem, session } = await openWorld(lab, { verify: await requireSigned() });
    const handle = await filesystem.open('/lab/demo/good:1.simg', 0);
    expect(session.cache.fetchedBytes).toBe(signed.length);
    await filesystem.release(handle);
    expect((await readFileAt(filesystem, '/lab/demo/good:1.simg')).equals(signed)).toBe(true);
    expect(session.cache.fetchedBytes).toBe(signed.length);
    // One that is not signed is refused without being fetched, and what it is can be told all the same.
    expect(await errnoOfCall(filesystem.open('/lab/demo/bad:1.simg', 0))).toBe(EACCES);
    expect(session.cache.fetchedBytes).toBeLessThan(signed.length + unsigned.length / 4);
    expect(await filesystem.getxattr('/lab/demo/bad:1.simg', 'user.sregistry.labels')).toBeDefined();
  });
});

needs({ registry: true })('with an image in layers', () => {
  test('An image in layers is refused with --require-signed before any layer is fetched.', async () => {
    const registry = await startRegistry();
    onTestFinished(() => registry.remove());
    const layer = layerOf(tarOf([{ path: 'app', data: 'app' }]));
    await pushLayered(registry.url, 'demo/app', '1', [layer], { Labels: { owner: 'lab' } });
    const lab = { lab: { driver: 'oci', base: registry.url } };
    const { filesystem, session } = await openWorld(lab, { verify: await requireSigned() });
    const path = '/lab/demo/app:1.simg';
    const opening = filesystem.open(path, 0);
    expect(await errnoOfCall(opening)).toBe(EACCES);
    await expect(opening).rejects.toThrow('layers carry no signature');
    // What it says of itself can be told all the same.
    expect(String(await filesystem.getxattr(path, 'user.sregistry.labels'))).toContain('"owner":"lab"');
    expect(session.layers.fetchedBytes).toBe(0);
    const keys = fixture('signer.asc');
    expect(await verifyImage(session, 'lab://demo/app:1', keys)).toEqual({
      verified: false,
      signatures: [],
      reason: expect.stringContaining('layers carry no signature'),
    });
    expect(await signaturesOf(session, 'lab://demo/app:1')).toEqual([]);
    expect(session.layers.fetchedBytes).toBe(0);
  });
});

test('Bytes changed in place are verified again though the time of the file was set back, and who has it open reads no further.', async () => {
  const { filesystem } = await onShelf();
  const path = '/shelf/demo/good:1.sif';
  const file = join(base, 'demo/good:1.sif');
  await writeFile(file, signed);
  const time = new Date(1_700_000_000_000);
  await utimes(file, time, time);
  const handle = await filesystem.open(path, 0);
  await writeFile(file, altered());
  await utimes(file, time, time);
  expect(await errnoOfCall(filesystem.read(handle, Buffer.alloc(4), 2_000_000, 4))).toBe(ESTALE);
  await filesystem.release(handle);
  expect(await errnoOfCall(readFileAt(filesystem, path))).toBe(EACCES);
});
