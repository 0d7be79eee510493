/** The self-contained tarball: unpack it anywhere and run `bin/sregistry`. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { archive } from './archive.ts';
import { stage } from './stage.ts';
import type { Missing, PackageRequest } from './target.ts';

/** Makes `<folder>/sregistry-VERSION-linux-ARCH.tar.gz`. */
export async function makeTarball({
  folder,
  version,
  architecture,
  level,
}: PackageRequest): Promise<{ file: string; missing: Missing[] }> {
  const name = `sregistry-${version}-linux-${architecture}`;
  const work = mkdtempSync(join(tmpdir(), 'sregistry-package-'));
  try {
    const options = { architectures: [architecture], node: true, libfuse: true, types: false };
    const missing = await stage(join(work, name), options);
    const file = join(folder, `${name}.tar.gz`);
    archive(file, work, name, level);
    return { file, missing };
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
