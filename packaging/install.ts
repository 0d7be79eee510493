/** An installation from a checkout: what a tarball contains, below a prefix such as /usr/local or ~/.local. */
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { stage } from './stage.ts';
import type { Architecture, Missing } from './target.ts';

/**
 * Makes `PREFIX/lib/sregistry` and the link `PREFIX/bin/sregistry`; replaces those of an earlier version. A mount of the earlier
 * version goes on until it is unmounted. Returns what is missing.
 */
export async function install(prefix: string, architecture: Architecture): Promise<Missing[]> {
  const folder = join(prefix, 'lib/sregistry');
  mkdirSync(join(prefix, 'lib'), { recursive: true });
  mkdirSync(join(prefix, 'bin'), { recursive: true });
  const work = mkdtempSync(join(prefix, 'lib/.sregistry-'));
  try {
    const fresh = join(work, 'new');
    const options = { architectures: [architecture], node: true, libfuse: true, types: true };
    const missing = await stage(fresh, options);
    if (existsSync(folder)) renameSync(folder, join(work, 'old'));
    renameSync(fresh, folder);
    const link = join(prefix, 'bin/sregistry');
    rmSync(link, { force: true });
    symlinkSync('../lib/sregistry/bin/sregistry', link);
    return missing;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
