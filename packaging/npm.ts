/**
 * The file for `npm install --global`. It brings the addons for all architectures, so nothing is compiled and no install script runs.
 * Node comes as an optional dependency: the packages `node-linux-*`, of which npm takes the machine's.
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, globSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nodeVersion } from './node.ts';
import { stage } from './stage.ts';
import { type Architecture, type Missing, ROOT, readDescription } from './target.ts';

/** Makes `<folder>/sregistry-VERSION.tgz`. */
export async function makeNpmPackage(
  folder: string,
  architectures: readonly Architecture[],
): Promise<{ file: string; missing: Missing[] }> {
  const work = mkdtempSync(join(tmpdir(), 'sregistry-package-'));
  try {
    const missing = await stage(work, {
      architectures,
      node: false,
      libfuse: true,
      types: true,
    });
    copyFileSync(join(ROOT, 'README.md'), join(work, 'README.md'));
    writeFileSync(join(work, 'package.json'), JSON.stringify(describe(work, architectures), null, 2));
    const words = ['pack', '--ignore-scripts', '--silent', '--pack-destination', folder];
    const name = execFileSync('npm', words, {
      cwd: work,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    return { file: join(folder, name.trim()), missing };
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function describe(work: string, architectures: readonly Architecture[]): object {
  const modules = join(work, 'node_modules');
  const bundled = packagesIn(modules);
  for (const name of bundled) withoutScripts(join(modules, name));
  return {
    ...readDescription(work),
    os: ['linux'],
    bin: { sregistry: 'bin/sregistry.js' },
    man: globSync('share/man/man*/*', { cwd: work }).sort(),
    dependencies: Object.fromEntries(
      bundled.map((name) => [name, readDescription(join(modules, name)).version]),
    ),
    bundleDependencies: bundled,
    optionalDependencies: Object.fromEntries(
      architectures.map((architecture) => [`node-linux-${architecture}`, nodeVersion]),
    ),
  };
}

/** Names of the packages in a `node_modules`. */
function packagesIn(modules: string): string[] {
  const scoped = globSync('@*/*', { cwd: modules });
  return [...readdirSync(modules).filter((name) => !name.startsWith('@')), ...scoped].sort();
}

/** What is left of a package needs neither a compiler nor packages that only compiling needs. */
function withoutScripts(folder: string): void {
  const { scripts, gypfile, dependencies, devDependencies, ...rest } = readDescription(folder);
  writeFileSync(join(folder, 'package.json'), JSON.stringify(rest, null, 2));
}
