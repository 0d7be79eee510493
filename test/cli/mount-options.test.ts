import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parseMountOptions } from '../../src/cli/mount-options.ts';
import { mountpointOf } from '../../src/cli/mountpoint.ts';

describe('The options of mount -o', () => {
  test('mean our own flags, written with _ or -, in one list or several.', () => {
    expect(
      parseMountOptions([
        'ro,allow_other,cache_size=50G',
        'ext=sif,backend=lab,cache-min-free=1G',
        'backend=hub',
      ]),
    ).toEqual({
      readOnly: true,
      allowOther: true,
      cacheSize: '50G',
      cacheMinFree: '1G',
      ext: 'sif',
      backend: ['lab', 'hub'],
      fuseOptions: [],
    });
    expect(
      parseMountOptions(['allow-delete,no_overwrite,no-xattrs,offline,ttl=5m,arch=arm/v7']),
    ).toMatchObject({
      allowDelete: true,
      noOverwrite: true,
      noXattrs: true,
      offline: true,
      ttl: '5m',
      arch: 'arm/v7',
    });
  });

  test('that fstab has for others are left alone.', () => {
    expect(
      parseMountOptions([
        'defaults,_netdev,nofail,noauto,user,user=kim,users,relatime,x-systemd.automount,x-systemd.after=a.service,comment=a',
      ]),
    ).toEqual({ fuseOptions: [] });
  });

  test('name a cache and a file of settings, which fstab cannot do by variables.', () => {
    expect(parseMountOptions(['config=/etc/lab.json,cache_dir=/scratch/cache'])).toMatchObject({
      config: '/etc/lab.json',
      cacheDir: '/scratch/cache',
    });
  });

  test('count as the last one says where two contradict each other, as with mount(8).', () => {
    expect(parseMountOptions(['ro,noexec,nosuid,nodev,exec,rw,suid'])).toEqual({
      readOnly: false,
      fuseOptions: ['nodev'],
    });
    expect(parseMountOptions(['rw', 'ro'])).toMatchObject({ readOnly: true });
  });

  test('that FUSE knows are handed on.', () => {
    expect(parseMountOptions(['nosuid,nodev,noexec'])).toEqual({
      fuseOptions: ['nosuid', 'nodev', 'noexec'],
    });
  });

  test.each(['bogus', 'ro=1', 'cache_size', 'backend', 'x=y', '__proto__', 'constructor=1'])(
    'are refused where they are none: %s',
    (option) => {
      expect(() => parseMountOptions([option])).toThrow(expect.objectContaining({ code: 'USAGE' }));
    },
  );

  test.each([
    ['cache_sise=5G', 'Did you mean cache_size?'],
    ['allow_others', 'Did you mean allow_other?'],
    ['nofial', 'Did you mean nofail?'],
    ['cache_size', 'Write cache_size=...'],
    ['ro=1', 'Write ro'],
    ['uid=1000', 'Mount as that user'],
    ['zzzz', 'The mount options are ro, rw, read_only'],
  ])('are refused with what to write instead: %s', (option, hint) => {
    expect(() => parseMountOptions([option])).toThrow(
      expect.objectContaining({ hint: expect.stringContaining(hint) }),
    );
  });
});

describe('The mount point', () => {
  test('is absolute and without symbolic links, as far as it exists.', async () => {
    const folder = realpathSync(mkdtempSync(join(tmpdir(), 'sregistry-mountpoint-')));
    try {
      mkdirSync(join(folder, 'real'));
      symlinkSync('real', join(folder, 'link'));
      expect(await mountpointOf(join(folder, 'link'), {})).toBe(join(folder, 'real'));
      expect(await mountpointOf(join(folder, 'link/new/one/'), {})).toBe(join(folder, 'real/new/one'));
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test('is SREGISTRY_MOUNTPOINT, else /mnt/sregistry, where none is given.', async () => {
    expect(await mountpointOf(undefined, { SREGISTRY_MOUNTPOINT: '/nowhere/here' })).toBe('/nowhere/here');
    expect(await mountpointOf(undefined, {})).toMatch(/\/sregistry$/);
  });
});
