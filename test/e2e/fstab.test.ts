import { chmod, copyFile, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { needs } from '../helpers/skip.ts';
import { fixture, World } from './support.ts';

const HELPER = join(import.meta.dirname, '../../packaging/mount.fuse.sregistry');
const IMAGE = 'small-gzip.sif';

needs({ fuse: true, root: true })('mount(8), as root', () => {
  let world: World;

  /** Runs it with the helper where mount(8) looks for it, in a mount namespace of its own. */
  const withHelper = (script: string) =>
    world.shell(`timeout 50 unshare --mount bash -ec '
      mount -t overlay overlay -o lowerdir=${world.home}/sbin:/usr/sbin /usr/sbin
      export PATH=${world.home}/bin:$PATH
      trap "umount -l $MNT 2> /dev/null || true" EXIT
      ${script}
    '`);

  beforeEach(async () => {
    world = await World.create();
    await mkdir(join(world.home, 'sbin'));
    await mkdir(join(world.home, 'bin'));
    await mkdir(join(world.home, 'images/lab'), { recursive: true });
    await mkdir(world.mountpoint);
    // As installed from a tarball: the helper finds the program beside it, as mount(8) does not hand PATH on.
    await mkdir(join(world.home, 'share'));
    await copyFile(HELPER, join(world.home, 'share/mount.fuse.sregistry'));
    await chmod(join(world.home, 'share/mount.fuse.sregistry'), 0o755);
    await symlink(
      join(world.home, 'share/mount.fuse.sregistry'),
      join(world.home, 'sbin/mount.fuse.sregistry'),
    );
    const starter = `#!/bin/sh\nexec ${process.execPath} ${world.executable} "$@"\n`;
    await writeFile(join(world.home, 'bin/sregistry'), starter, { mode: 0o755 });
    await copyFile(fixture(IMAGE), join(world.home, 'images/lab/hello:1.0.sif'));
    const settings = { lab: { driver: 'dir', base: join(world.home, 'images') } };
    await writeFile(join(world.home, 'lab.json'), JSON.stringify(settings), { mode: 0o600 });
  });
  afterEach(() => world.end());

  test('mounts a line of fstab with the options that such lines have', async () => {
    const options = [
      'defaults,_netdev,nofail,x-systemd.automount,allow_other,ro,noexec',
      `cache_size=50M,cache_dir=${world.home}/scratch,config=${world.home}/lab.json`,
    ].join(',');
    await writeFile(join(world.home, 'fstab'), `lab ${world.mountpoint} fuse.sregistry ${options} 0 0\n`);
    const output = await world.ok(
      withHelper(`
        mount -T ${world.home}/fstab $MNT
        findmnt -no FSTYPE,OPTIONS $MNT
        ls $MNT $MNT/lab/lab
        cmp $MNT/lab/lab/hello:1.0.sif ${world.home}/images/lab/hello:1.0.sif
        touch $MNT/lab/lab/x 2>&1 || true
        sregistry status --json
        umount $MNT
        findmnt $MNT || echo unmounted
      `),
    );
    expect(output).toMatch(/^fuse\.sregistry ro,nosuid,nodev,noexec,.*allow_other/);
    expect(output).toContain('hello:1.0.sif');
    expect(output).toContain('Read-only file system');
    expect(output).toContain(`"path": "${world.home}/scratch"`);
    expect(output).toContain(`"limit": ${50 * 1024 ** 2}`);
    expect(output).toContain('unmounted');
  });

  test('fails on an option that nobody knows, and says what was meant', async () => {
    const { code, stderr, stdout } = await withHelper(`
      mount -t fuse.sregistry none $MNT -o allow_others || echo "failed with $?"
      findmnt $MNT || echo nothing
    `);
    expect(stderr).toContain('-o allow_others: sregistry has no such mount option');
    expect(stderr).toContain('Did you mean allow_other?');
    expect(stdout).toMatch(/failed with \d+\nnothing/);
    expect(code).toBe(0);
  });
});
