/** An installation from a checkout: what a tarball contains, below a prefix such as /usr/local or ~/.local. */
import {
  existsSync,
  globSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { stage } from './stage.ts';
import type { Architecture, Missing } from './target.ts';

/**
 * Makes `PREFIX/lib/sregistry`, and links to it: `PREFIX/bin/sregistry` and the man pages. Replaces those of an earlier version. A
 * mount of the earlier version goes on until it is unmounted. Returns what is missing.
 */
export async function install(prefix: string, architecture: Architecture): Promise<Missing[]> {
  const folder = join(prefix, 'lib/sregistry');
  mkdirSync(join(prefix, 'lib'), { recursive: true });
  const work = mkdtempSync(join(prefix, 'lib/.sregistry-'));
  try {
    const fresh = join(work, 'new');
    const options = { architectures: [architecture], node: true, libfuse: true, types: true };
    const missing = await stage(fresh, options);
    if (existsSync(folder)) renameSync(folder, join(work, 'old'));
    renameSync(fresh, folder);
    putLink(join(folder, 'bin/sregistry'), join(prefix, 'bin/sregistry'));
    linkManPages(folder, prefix);
    return missing;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Links the pages where man(1) looks for those of the programs in `PREFIX/bin`. */
function linkManPages(folder: string, prefix: string): void {
  const pages = join(folder, 'share/man');
  const manual = join(prefix, 'share/man');
  for (const link of globSync('man*/*', { cwd: manual }))
    if (pointsInto(pages, join(manual, link))) rmSync(join(manual, link));
  for (const page of globSync('man*/*', { cwd: pages })) putLink(join(pages, page), join(manual, page));
}

function pointsInto(folder: string, link: string): boolean {
  if (!lstatSync(link).isSymbolicLink()) return false;
  return resolve(dirname(link), readlinkSync(link)).startsWith(`${folder}/`);
}

/** A relative link, so the prefix can be moved. */
function putLink(target: string, link: string): void {
  mkdirSync(dirname(link), { recursive: true });
  rmSync(link, { force: true });
  symlinkSync(relative(dirname(link), target), link);
}
