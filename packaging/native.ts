/** Packages with native addons, cut down to what runs on the given architectures: no sources, no tests, no other systems. */
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { buildFuse, type FuseAddon, prebuiltFuse } from './fuse-addon.ts';
import { copyStripped } from './strip.ts';
import { type Architecture, installed, Missing } from './target.ts';

/** Packages that run without a compiler or `binding.gyp`, and what of them does. */
const FILES: Readonly<Record<string, readonly string[]>> = {
  'better-sqlite3': ['package.json', 'LICENSE', 'lib'],
  'fuse-native': ['package.json', 'index.js'],
  'fuse-shared-library': ['package.json', 'LICENSE', 'index.js'],
  'fuse-shared-library-linux': ['package.json', 'LICENSE', 'index.js'],
  inherits: ['package.json', 'LICENSE', 'inherits.js'],
  nanoresource: ['package.json', 'LICENSE', 'index.js'],
  'node-gyp-build': ['package.json', 'LICENSE', 'index.js', 'node-gyp-build.js'],
};

export interface NativeOptions {
  readonly architectures: readonly Architecture[];
  /** Bring libfuse 2 as well, beside the addon. Otherwise the addon loads the system's. */
  readonly libfuse: boolean;
}

/** Puts them below `folder`, a `node_modules`. Returns what is missing. */
export function addNative(folder: string, { architectures, libfuse }: NativeOptions): Missing[] {
  for (const [name, files] of Object.entries(FILES))
    for (const file of files) copy(join(installed(name), file), join(folder, name, file));
  const missing: Missing[] = [];
  for (const architecture of architectures) {
    const addon = `prebuilds/linux-${architecture}.node`;
    mkdirSync(join(folder, 'better-sqlite3/prebuilds'), { recursive: true });
    copyStripped(
      join(installed('better-sqlite3'), addon),
      join(folder, 'better-sqlite3', addon),
      architecture,
    );
    try {
      const made = architecture === 'x64' ? prebuiltFuse() : buildFuse(architecture);
      addFuse(join(folder, 'fuse-native/prebuilds', `linux-${architecture}`), made, libfuse);
    } catch (error) {
      if (!(error instanceof Missing)) throw error;
      missing.push(error);
    }
  }
  return missing;
}

function addFuse(folder: string, { addon, library }: FuseAddon, libfuse: boolean): void {
  const target = join(folder, 'node.napi.node');
  if (libfuse) {
    copy(library, join(folder, 'libfuse.so.2'));
    copy(addon, target);
    setSearchPath(target);
  } else {
    copy(addon, target);
  }
}

/** Lets an addon find libfuse in its own folder. */
function setSearchPath(addon: string): void {
  try {
    execFileSync('patchelf', ['--set-rpath', '$ORIGIN', addon]);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    throw new Missing('no libfuse: patchelf is missing (Debian: apt-get install patchelf)');
  }
}

function copy(from: string, to: string): void {
  if (!existsSync(from)) throw new Error(`${from} is not there: run scripts/setup`);
  mkdirSync(dirname(to), { recursive: true });
  cpSync(from, to, { recursive: true, dereference: true });
}
