import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { hashFile, sha256File } from '../../src/base/hash.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sregistry-hash-'));
});
afterAll(() => rm(folder, { recursive: true }));

async function file(name: string, bytes: Buffer): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, bytes);
  return path;
}

/** Digests by coreutils' sha256sum. */
test.each([
  ['nothing', Buffer.alloc(0), 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'],
  ['abc', Buffer.from('abc'), 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'],
  ['zeros', Buffer.alloc(3 << 20), 'bbd05cf6097ac9b1f89ea29d2542c1b7b67ee46848393895f5a9e43fa1f621e5'],
])('a file of %s has its sha256', async (name, bytes, hex) => {
  expect(await sha256File(await file(name, bytes))).toBe(`sha256:${hex}`);
});

/** MD5 by coreutils' md5sum. */
test('several hashes come from one reading', async () => {
  expect(await hashFile(await file('two', Buffer.from('abc')), ['md5', 'sha256'])).toEqual({
    md5: '900150983cd24fb0d6963f7d28e17f72',
    sha256: 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
  });
});

test('progress ends with the whole size', async () => {
  const seen: [number, number][] = [];
  const path = await file('progress', Buffer.alloc(70 << 20));
  await sha256File(path, { progress: (done, total) => seen.push([done, total]) });
  expect(seen.length).toBeGreaterThan(2);
  expect(seen.at(-1)).toEqual([70 << 20, 70 << 20]);
});

test('a file that is not there is ENOENT, and an aborted signal is CANCELED', async () => {
  await expect(sha256File(join(folder, 'none'))).rejects.toMatchObject({ code: 'ENOENT' });
  const path = await file('canceled', Buffer.alloc(1));
  await expect(sha256File(path, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'CANCELED' });
});
