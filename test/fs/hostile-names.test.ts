/** Names that a service may have and a file system cannot: on Cloud Storage, in-process. */
import { constants as os } from 'node:os';
import { afterEach, expect, test } from 'vitest';
import { type FakeGcs, startFakeGcs } from '../servers/fake-gcs.ts';
import { errnoOfCall, openWorld } from './support.ts';

let service: FakeGcs;
afterEach(() => service.close());

const open = () => openWorld({ lab: { driver: 'gcs', bucket: 'images', base: service.url } });

test.each([
  ['too long', 'x'.repeat(300)],
  ['almost as long as a key may be', 'x'.repeat(950)],
  ['too long in bytes only', 'é'.repeat(130)],
  ['the folder above', '..'],
  ['the folder itself', '.'],
  ['empty', ''],
  ['with a line break', 'a\nb'],
  ['with a NUL', 'a\0b'],
  ['that was not UTF-8', 'a\ufffdb'],
])('a name that is %s is left out of a listing, and the others are in it', async (_what, bad) => {
  service = await startFakeGcs();
  const bytes = Buffer.from('bytes');
  service.put('demo/good:1.sif', bytes);
  service.put('demo/deep/good:1.sif', bytes);
  service.put(`demo/${bad}:1.sif`, bytes);
  service.put(`demo/${bad}.sif`, bytes);
  service.put(`demo/${bad}/inner:1.sif`, bytes);
  service.put(`${bad}/demo/inner:1.sif`, bytes);
  const { filesystem } = await open();
  const names = await filesystem.readdir('/lab/demo');
  // `..:1.sif` is a good name.
  expect(names.filter((name) => !/^\.{1,2}:1\.sif$/.test(name)).sort()).toEqual(['deep', 'good:1.sif']);
  expect(await filesystem.readdir('/lab')).toEqual(['demo']);
  for (const name of names)
    expect(await errnoOfCall(filesystem.getattr(`/lab/demo/${name}`))).toBeUndefined();
  if (bad.length > 255)
    expect(await errnoOfCall(filesystem.getattr(`/lab/demo/${bad}:1.sif`))).toBe(os.errno.ENAMETOOLONG);
});
