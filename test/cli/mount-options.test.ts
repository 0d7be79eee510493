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
        'defaults,rw,_netdev,nofail,noauto,user,x-systemd.automount,x-systemd.after=a.service',
      ]),
    ).toEqual({ fuseOptions: [] });
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
