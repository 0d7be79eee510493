import { cpSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { needs } from '../helpers/skip.ts';
import { World } from './support.ts';

const ROOT = join(import.meta.dirname, '../..');

let world: World;
beforeEach(async () => {
  world = await World.create();
});
afterEach(() => world.end());

/** Another version of sregistry, installed in the home folder; its executable. */
function otherVersion(version: string): string {
  const folder = join(world.home, 'other');
  for (const part of ['bin', 'dist', 'assets'])
    cpSync(join(ROOT, part), join(folder, part), { recursive: true });
  const description = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ ...description, version }));
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  return join(folder, 'bin/sregistry.js');
}

needs({ fuse: true })('a mount of another version than the command', () => {
  test('is named by status and doctor, with the way to change over', async () => {
    const other = otherVersion('0.0.9');
    await world.ok(world.run(process.execPath, [other, 'mount', world.mountpoint]));

    const status = await world.sregistry('status');
    expect(status.stdout).toContain(', version 0.0.9');
    expect(status.stderr).toContain(`version 0.0.9 of sregistry serves ${world.mountpoint}`);
    const change = `sregistry unmount ${world.mountpoint} && sregistry mount ${world.mountpoint}`;
    expect(status.stderr).toContain(change);
    expect((await world.mounted()).version).toBe('0.0.9');
    const findings = JSON.parse((await world.sregistry('doctor', '--json')).stdout);
    expect(findings).toContainEqual(
      expect.objectContaining({
        name: 'versions of mounts',
        ok: false,
        required: false,
        fix: expect.stringContaining(change),
      }),
    );

    await world.unmount();
    await world.mount();
    expect((await world.sregistry('status')).stderr).toBe('');
  });
});
