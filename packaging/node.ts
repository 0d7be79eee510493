/** The Node that a package brings: the binary that npm has for the architecture, without its symbols, which are a seventh of it. */
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, existsSync, mkdirSync, renameSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { cacheFolder } from './cache.ts';
import { copyStripped } from './strip.ts';
import { type Architecture, installed, Missing, readDescription } from './target.ts';

/** The version of the checkout's own Node, which all packages bring. */
export const nodeVersion: string = readDescription(installed('node')).version;

/** Puts Node at `target`, and its licence at `licence`. Throws Missing if npm cannot fetch it. */
export function addNode(architecture: Architecture, target: string, licence: string): void {
  const folder = nodePackage(architecture);
  const stripped = join(cacheFolder(`node-${nodeVersion}-${architecture}`), 'node');
  if (!existsSync(stripped)) {
    const partial = `${stripped}.partial`;
    copyStripped(join(folder, 'bin/node'), partial, architecture);
    renameSync(partial, stripped);
  }
  mkdirSync(dirname(target), { recursive: true });
  copyFileSync(stripped, target);
  chmodSync(target, 0o755);
  copyFileSync(join(folder, 'LICENSE'), licence);
}

/** The folder of npm's package for the architecture. The one for this machine is installed. */
function nodePackage(architecture: Architecture): string {
  const name = `node-linux-${architecture}`;
  const own = join(installed('node'), 'node_modules', name);
  if (existsSync(own)) return own;
  const folder = cacheFolder(`${name}-${nodeVersion}`);
  if (existsSync(join(folder, 'package/bin/node'))) return join(folder, 'package');
  try {
    execFileSync('npm', ['pack', '--silent', '--pack-destination', folder, `${name}@${nodeVersion}`], {
      stdio: 'pipe',
      timeout: 600_000,
    });
  } catch (cause) {
    throw new Missing(`no package for ${architecture}: npm could not fetch ${name}@${nodeVersion}`, {
      cause,
    });
  }
  execFileSync('tar', ['-xzf', join(folder, `${name}-${nodeVersion}.tgz`), '-C', folder]);
  return join(folder, 'package');
}
