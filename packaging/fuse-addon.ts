/** The addon of fuse-native, and the libfuse 2 that it loads. npm brings both for x64; for arm64 they are made here. */
import { execFileSync } from 'node:child_process';
import { existsSync, globSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cacheFolder } from './cache.ts';
import { installed, Missing } from './target.ts';

export interface FuseAddon {
  /** Path of the addon, which loads `libfuse.so.2`. */
  readonly addon: string;
  /** Path of the library. */
  readonly library: string;
}

export function prebuiltFuse(): FuseAddon {
  const folder = join(installed('fuse-native'), 'prebuilds/linux-x64');
  return { addon: join(folder, 'node.napi.node'), library: join(folder, 'libfuse.so') };
}

const COMPILER = 'aarch64-linux-gnu-gcc';

/**
 * Compiles the addon with Debian's cross compiler and takes libfuse from Debian's package. Both need glibc 2.34: Debian 12,
 * Ubuntu 22.04, RHEL 9 or newer.
 */
export function buildFuse(architecture: 'arm64'): FuseAddon {
  const folder = cacheFolder(`fuse-${architecture}`);
  const made = { addon: join(folder, 'node.napi.node'), library: join(folder, 'libfuse.so.2') };
  if (!existsSync(made.library)) fetchLibfuse(architecture, made.library);
  if (!existsSync(made.addon)) compile(made);
  return made;
}

function compile({ addon, library }: FuseAddon): void {
  const [headers] = globSync(`${installed('node')}/node_modules/node-linux-*/include/node`);
  if (headers === undefined) throw new Missing('no mounting on arm64: the headers of Node are missing');
  const folders = [
    headers,
    installed('napi-macros'),
    join(installed('fuse-shared-library-linux'), 'libfuse/include'),
  ];
  const source = join(installed('fuse-native'), 'fuse-native.c');
  const flags = ['-shared', '-fPIC', '-O3', '-pthread', '-s', '-D_FILE_OFFSET_BITS=64'];
  try {
    execFileSync(COMPILER, [...flags, ...folders.map((each) => `-I${each}`), source, library, '-o', addon], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    throw new Missing(`no mounting on arm64: ${COMPILER} is missing (Debian: gcc-aarch64-linux-gnu)`);
  }
}

/** Asks apt with lists of its own, so that the system need not know the other architecture. */
function fetchLibfuse(architecture: string, library: string): void {
  const work = mkdtempSync(join(tmpdir(), 'sregistry-libfuse-'));
  const state = join(work, 'lists/partial');
  mkdirSync(state, { recursive: true });
  mkdirSync(join(work, 'archives/partial'), { recursive: true });
  const settings = [
    `APT::Architecture=${architecture}`,
    `APT::Architectures=${architecture}`,
    `Dir::State::lists=${join(work, 'lists')}`,
    `Dir::Cache=${work}`,
    'Dir::State::status=/dev/null',
    'APT::Sandbox::User=',
  ].flatMap((setting) => ['-o', setting]);
  const apt = (...words: string[]) =>
    execFileSync('apt-get', ['-q', ...settings, ...words], { cwd: work, stdio: 'pipe', timeout: 300_000 });
  try {
    apt('update');
    apt('download', 'libfuse2');
    const [archive = ''] = globSync('libfuse2_*.deb', { cwd: work });
    execFileSync('dpkg-deb', ['--extract', join(work, archive), join(work, 'files')]);
    const [found = ''] = globSync('files/**/libfuse.so.2.*', { cwd: work });
    execFileSync('cp', ['--dereference', join(work, found), library]);
  } catch (cause) {
    throw new Missing(`no mounting on ${architecture}: Debian's libfuse2 could not be fetched`, { cause });
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
