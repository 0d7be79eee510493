import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { identify } from '../../src/image/format.ts';
import { bytesSource, openFileSource } from '../../src/image/source.ts';
import { extImage, fixture, fixturePath, LAUNCH_LINE, latin1, patched } from './fixtures.ts';

const identifyBytes = (bytes: Uint8Array) => identify(bytesSource(bytes));

/** Offsets of fields: the SIF header's, and those of its first descriptor. */
const SIF = { version: 42, total: 88, table: 96, firstOffset: 4096 + 17, firstSize: 4096 + 25 };

const GENUINE = [
  ['small-gzip.sif', 'sif', 2_441_216],
  ['small-zstd.sif', 'sif', 2_359_296],
  ['small-signed.sif', 'sif', 2_442_536],
  ['old-gzip.simg', 'singularity2-squashfs', 31 + 1_045_848],
  ['old-plain.sqsh', 'squashfs', 1_045_848],
] as const;

describe.each(GENUINE)('%s', (file, kind, length) => {
  const bytes = fixture(file);

  it('is whole, of its kind and length', async () => {
    await using source = await openFileSource(fixturePath(file));
    expect(await identify(source)).toMatchObject({ kind, length, whole: true, state: 'whole' });
  });

  it('is partial until its last byte is there', async () => {
    const cut = await identifyBytes(bytes.subarray(0, length - 1));
    expect(cut).toMatchObject({ kind, length, whole: false, state: 'partial' });
    expect(cut.reason).toContain(`${length - 1} of ${length}`);
    expect(await identifyBytes(bytes.subarray(0, length))).toMatchObject({ state: 'whole' });
  });

  it('is never refused, whatever part of it has been written', async () => {
    const boundaries = [...Array(4200).keys(), 8192, 32_175, 32_176, 32_177, 40_960, length - 1];
    for (const size of boundaries) {
      const { state, whole } = await identifyBytes(bytes.subarray(0, size));
      expect(whole, `${size} bytes`).toBe(false);
      expect(['unknown', 'partial'], `${size} bytes`).toContain(state);
    }
  });
});

describe('a file being written', () => {
  it.each([
    ['nothing', new Uint8Array(0)],
    ['one zero', new Uint8Array(1)],
    ['zeros up to the data', new Uint8Array(32_768)],
    ['half a launch line', latin1('#!/usr/bin/env run-')],
    ['a launch line', latin1(LAUNCH_LINE)],
    ['a launch line and zeros', Buffer.concat([latin1(LAUNCH_LINE), new Uint8Array(4000)])],
    ['half a SquashFS magic', latin1('hsq')],
  ])('with %s has an unknown state', async (_what, bytes) => {
    expect(await identifyBytes(bytes)).toMatchObject({ state: 'unknown', whole: false, length: undefined });
  });

  it('as SIF, data first and header last, is known when the header comes', async () => {
    const whole = fixture('small-gzip.sif');
    const withoutHeader = new Uint8Array(whole);
    withoutHeader.fill(0, 0, 32_176);
    expect(await identifyBytes(withoutHeader)).toMatchObject({ state: 'unknown' });
    const withoutTable = new Uint8Array(whole);
    withoutTable.fill(0, 4096, 32_176);
    expect(await identifyBytes(withoutTable)).toMatchObject({
      kind: 'sif',
      state: 'partial',
      length: undefined,
    });
    const withoutCounts = patched(whole, { [SIF.total]: 0n });
    expect(await identifyBytes(withoutCounts)).toMatchObject({ kind: 'sif', state: 'partial' });
  });
});

describe('ext', () => {
  it('is measured by its superblock, with and without a launch line', async () => {
    expect(await identifyBytes(extImage(64))).toMatchObject({ kind: 'ext3', length: 65_536, whole: true });
    const old = extImage(64, LAUNCH_LINE);
    expect(await identifyBytes(old)).toMatchObject({
      kind: 'singularity2-ext3',
      length: 65_536 + 31,
      whole: true,
    });
    expect(await identifyBytes(old.subarray(0, 65_536))).toMatchObject({ state: 'partial', length: 65_567 });
    expect(await identifyBytes(old.subarray(0, 1200))).toMatchObject({ state: 'partial', length: undefined });
  });

  it('counts blocks beyond 2^32 where the file system has 64-bit counts', async () => {
    const large = patched(extImage(64), { [1024 + 96]: 0x80, [1024 + 336]: 1 });
    expect(await identifyBytes(large)).toMatchObject({ length: (2 ** 32 + 64) * 1024, state: 'partial' });
  });
});

describe('what is not an image', () => {
  const tar = new Uint8Array(1024);
  tar.set(latin1('notes.txt'));
  tar.set(latin1('ustar'), 257);

  it.each([
    ['notes', latin1('some notes\n'), 'text'],
    ['two bytes', latin1('a\n'), 'text'],
    ['unicode', Buffer.from('naïve ✓ notes'), 'text'],
    ['a web page', latin1('<!DOCTYPE html><html>sign in</html>'), 'a web page'],
    ['a script', latin1('#!/bin/sh\necho hello, this is no image at all\n'), 'a script'],
    ['gzip', latin1('\x1f\x8b\x08\0\0\0\0\0'), 'gzip'],
    ['a tar archive', tar, 'a tar archive'],
    ['a big-endian SquashFS', latin1(`sqsh${'\0'.repeat(100)}`), 'big-endian'],
    ['noise', latin1('\x01\xfe\x80\x81'.repeat(100)), 'unknown kind'],
    [
      'a launch line before something else',
      latin1(`${LAUNCH_LINE}${'x'.repeat(3000)}`),
      'follows the launch line',
    ],
  ])('%s is refused with a reason', async (_what, bytes, reason) => {
    const answer = await identifyBytes(bytes);
    expect(answer).toMatchObject({ state: 'not-an-image', kind: undefined, whole: false });
    expect(answer.reason).toContain(reason);
  });

  const sif = fixture('small-gzip.sif').subarray(0, 40_000);
  it.each([
    ['a SIF of a later version', patched(sif, { [SIF.version]: 0x30003930 }), 'version "09"'],
    ['too many descriptors', patched(sif, { [SIF.total]: 1_000_000n }), '1000000 descriptors'],
    ['a negative count', patched(sif, { [SIF.total]: -1n }), 'number of descriptors: -1'],
    ['a table over the header', patched(sif, { [SIF.table]: 64n }), 'overlap the header'],
    ['a table beyond 2^53', patched(sif, { [SIF.table]: 2n ** 60n }), 'impossible offset'],
    ['a table that ends beyond 2^53', patched(sif, { [SIF.table]: 2n ** 53n - 1n }), 'impossible offset'],
    ['an object over the header', patched(sif, { [SIF.firstOffset]: 0n }), 'overlaps the header'],
    ['an object over the table', patched(sif, { [SIF.firstOffset]: 5000n }), 'overlaps the descriptor table'],
    ['an object of negative size', patched(sif, { [SIF.firstSize]: -5n }), 'impossible size'],
    [
      'an object that ends beyond 2^53',
      patched(sif, { [SIF.firstSize]: 2n ** 53n - 1n }),
      'impossible offset',
    ],
  ])('%s is refused with a reason', async (_what, bytes, reason) => {
    const answer = await identifyBytes(bytes);
    expect(answer).toMatchObject({ state: 'not-an-image', whole: false });
    expect(answer.reason).toContain(reason);
  });

  const squashfs = fixture('old-plain.sqsh').subarray(0, 4096);
  it.each([
    ['SquashFS 3', patched(squashfs, { 28: 3 }), 'version 3.0'],
    ['a SquashFS shorter than its superblock', patched(squashfs, { 40: 12n }), 'length of 12'],
    ['a SquashFS of negative length', patched(squashfs, { 40: -1n }), 'impossible length'],
    ['a SquashFS of odd blocks', patched(squashfs, { 12: 1000 }), 'block size'],
    ['a SquashFS with a table behind its end', patched(squashfs, { 64: 2n ** 40n }), 'outside the image'],
    ['a SquashFS of unknown compression', patched(squashfs, { 20: 0x0011_0009 }), 'compression 9'],
    ['an ext of no blocks', patched(extImage(4), { [1024 + 4]: 0 }), '0 blocks'],
    ['an ext of giant blocks', patched(extImage(4), { [1024 + 24]: 60 }), 'block size'],
  ])('%s is refused with a reason', async (_what, bytes, reason) => {
    const answer = await identifyBytes(bytes);
    expect(answer).toMatchObject({ state: 'not-an-image', whole: false });
    expect(answer.reason).toContain(reason);
  });
});

it('a failing source is an error, not an answer', async () => {
  const failing = { size: 100, read: () => Promise.reject(new Error('disk on fire')) };
  await expect(identify(failing)).rejects.toThrow('disk on fire');
});

it('a file that grows is read as long as it was when opened', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'sregistry-image-'));
  try {
    const path = join(folder, 'a.sif');
    await writeFile(path, fixture('small-gzip.sif').subarray(0, 50_000));
    await using source = await openFileSource(path);
    await writeFile(path, fixture('small-gzip.sif'));
    expect(await identify(source)).toMatchObject({ state: 'partial', length: 2_441_216 });
  } finally {
    await rm(folder, { recursive: true });
  }
});
