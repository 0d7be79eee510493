import { cp, mkdir, readdir, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { temporaryFolder } from './temporary.ts';

const ROOT = join(import.meta.dirname, '../..');

const COPIED = [
  'bin',
  'scripts',
  'src',
  'test',
  'docs',
  'package.json',
  'biome.json',
  'tsconfig.json',
  'tsconfig.build.json',
  'vitest.config.ts',
];

/**
 * A copy of this repository to change things in, without images; removed after the test. Packages of `without` are not installed
 * in it.
 */
export async function temporaryCheckout({ without = [] }: { without?: string[] } = {}): Promise<string> {
  const folder = temporaryFolder();
  const filter = (path: string) => !/\/test\/(fixtures|\.state)$/.test(path);
  for (const path of COPIED) await cp(join(ROOT, path), join(folder, path), { recursive: true, filter });
  if (without.length === 0) await symlink(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  else await linkPackages(join(folder, 'node_modules'), without);
  return folder;
}

async function linkPackages(folder: string, without: readonly string[]): Promise<void> {
  const installed = join(ROOT, 'node_modules');
  for (const path of await readdir(installed)) {
    const packages = path.startsWith('@') ? await readdir(join(installed, path)) : [''];
    for (const name of packages.map((below) => join(path, below))) {
      if (without.includes(name)) continue;
      await mkdir(dirname(join(folder, name)), { recursive: true });
      await symlink(join(installed, name), join(folder, name));
    }
  }
}
