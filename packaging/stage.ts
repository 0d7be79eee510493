/** The folder that every kind of package contains: sregistry with all that it loads. */
import { chmodSync, cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { licences } from '../scripts/licences.ts';
import { manPages } from './man/pages.ts';
import { addNative } from './native.ts';
import { addNode } from './node.ts';
import { addOptionalPackages } from './optional-packages.ts';
import { type Architecture, installed, type Missing, ROOT, readDescription, releaseDate } from './target.ts';

export interface StageOptions {
  readonly architectures: readonly Architecture[];
  /** Bring Node and a launcher that starts it. With one architecture only. */
  readonly node: boolean;
  /** Bring libfuse 2. */
  readonly libfuse: boolean;
  /** Bring the declarations of types, for programs that import the library. */
  readonly types: boolean;
}

/** Fills `folder`. Returns what is missing. Expects a build. Throws Missing if nothing would run. */
export async function stage(folder: string, options: StageOptions): Promise<Missing[]> {
  const { architectures, node, libfuse, types } = options;
  mkdirSync(folder, { recursive: true });
  for (const name of ['LICENSE', 'bin', 'assets'])
    cpSync(join(ROOT, name), join(folder, name), { recursive: true });
  for (const name of ['mount.fuse.sregistry', 'systemd'])
    cpSync(join(import.meta.dirname, name), join(folder, 'share', name), { recursive: true });
  await writeManPages(join(folder, 'share/man'));
  cpSync(join(ROOT, 'dist'), join(folder, 'dist'), {
    recursive: true,
    filter: (path) => isWanted(path, types),
  });
  writeFileSync(join(folder, 'package.json'), JSON.stringify(description(), null, 2));
  const modules = join(folder, 'node_modules');
  const missing = addNative(modules, { architectures, libfuse });
  const optional = await addOptionalPackages(modules);
  const [architecture] = architectures;
  if (node && architecture !== undefined) {
    addNode(architecture, join(folder, 'libexec/node'), join(folder, 'LICENSE.node'));
    const launcher = join(folder, 'bin/sregistry');
    cpSync(join(import.meta.dirname, 'launcher'), launcher);
    chmodSync(launcher, 0o755);
  }
  writeLicences(folder, modules, optional, libfuse);
  return missing;
}

async function writeManPages(folder: string): Promise<void> {
  for (const [path, text] of await manPages(releaseDate())) {
    mkdirSync(join(folder, dirname(path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
}

/** Not the notes of the compiler, and declarations only where they are wanted. */
const isWanted = (path: string, types: boolean) =>
  !/\/dist\/\.[^/]+$/.test(path) && (types || !path.endsWith('.d.ts'));

/** What Node and npm need to know of an installed sregistry. */
function description(): object {
  const { name, version, description, license, type, exports, engines } = readDescription(ROOT);
  return { name, version, description, license, type, exports, engines };
}

function writeLicences(folder: string, modules: string, optional: Iterable<string>, libfuse: boolean): void {
  const native = readdirSync(modules).filter((name) => !name.startsWith('@'));
  const own = [...new Set([...optional, ...native.map(installed)])];
  const parts = [readFileSync(join(folder, 'dist/LICENCES.txt'), 'utf8'), licences(own)];
  if (libfuse) parts.push(readFileSync(join(import.meta.dirname, 'libfuse.licence.txt'), 'utf8'));
  writeFileSync(join(folder, 'dist/LICENCES.txt'), parts.join('\n'));
}
