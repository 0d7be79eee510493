/** Indexes of layers and described images as bytes. */
import { expect, test } from 'vitest';
import { Assembler, assembledSource } from '../../../src/image/assembled.ts';
import type { LayerEntry } from '../../../src/image/layers/entry.ts';
import { packEntries, unpackEntries } from '../../../src/image/layers/packed-entries.ts';
import { packImage, unpackImage } from '../../../src/image/layers/packed-image.ts';
import { bytesSource } from '../../../src/image/source.ts';

const attributes = { mode: 0o755, uid: 1, gid: 2, modified: -3 };

test('entries are the same after a way as bytes, also more than go at a time', () => {
  const entries: LayerEntry[] = [
    { type: 'file', path: 'a\n\u0000\u00ff"', ...attributes, size: 2 ** 39, offset: 512, ranges: [[5, 6]] },
    { type: 'directory', path: 'b/', ...attributes, xattrs: { 'security.capability': '\u0001\u0000\u00fe' } },
    { type: 'hard-link', path: 'c', ...attributes, target: 'a' },
    { type: 'block-device', path: 'd', ...attributes, major: 1, minor: 0xfffff },
  ];
  for (let i = 0; i < 25_000; i++) entries.push({ type: 'fifo', path: `pipe-${i}`, ...attributes });
  expect([...unpackEntries(packEntries(entries))]).toEqual(entries);
  expect([...unpackEntries(packEntries([]))]).toEqual([]);
});

test('a described image reads the same after a way as bytes', async () => {
  const image = new Assembler();
  image.add({ length: 3, bytes: Buffer.from('abc') });
  image.add({ length: 2, bytes: Buffer.from('de') });
  image.align(16);
  image.add({ length: 4, source: 1, offset: 2 });
  image.add({ length: 3, bytes: Buffer.from('xyz') });
  image.add({ length: 5, source: 0, offset: 0 });
  const sources = ['first', 'seconds'].map((text) => bytesSource(Buffer.from(text)));
  const wanted = Buffer.from(`abcde${'\0'.repeat(11)}condxyzfirst`);
  const packed = packImage(image.finish());
  const read = assembledSource(await unpackImage(packed), sources);
  expect(Buffer.from(await read.read(0, 100))).toEqual(wanted);
  expect(Buffer.from(await read.read(4, 18))).toEqual(wanted.subarray(4, 22));
  await expect(unpackImage(packed.fill(7, 10, 12))).rejects.toThrow();
  await expect(unpackImage(packed.subarray(0, 8))).rejects.toThrow();
});
