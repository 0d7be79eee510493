import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** The glibc that the programs and libraries below `folder` need, by the versions of the symbols they name: `2.34`. */
export function neededGlibc(folder: string): string {
  const binaries = globSync('{libexec/node,node_modules/**/*.node,node_modules/**/*.so.*}', { cwd: folder });
  const minors = binaries.flatMap((file) =>
    [...readFileSync(join(folder, file), 'latin1').matchAll(/\0GLIBC_2\.(\d+)(?=[.\0])/g)].map(([, minor]) =>
      Number(minor),
    ),
  );
  return `2.${Math.max(...minors)}`;
}
