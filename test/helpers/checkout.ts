import { cp, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { temporaryFolder } from './temporary.ts';

const ROOT = join(import.meta.dirname, '../..');

const COPIED = [
  'bin',
  'src',
  'test',
  'docs',
  'package.json',
  'biome.json',
  'tsconfig.json',
  'tsconfig.build.json',
  'vitest.config.ts',
];

/** A copy of this repository to change things in, without images; removed after the test. */
export async function temporaryCheckout(): Promise<string> {
  const folder = temporaryFolder();
  const filter = (path: string) => !/\/test\/(fixtures|\.state)$/.test(path);
  for (const path of COPIED) await cp(join(ROOT, path), join(folder, path), { recursive: true, filter });
  await symlink(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  return folder;
}
