/** The checks of `sregistry doctor` for everything except mounting. Each runs by itself, so a failure hides no other. */
import { execFile } from 'node:child_process';
import { access, constants, stat } from 'node:fs/promises';
import { promisify } from 'node:util';
import bytes from 'bytes';
import { drivers } from '../backends/registry.ts';
import type { Check } from '../base/check.ts';
import { SregistryError } from '../base/errors.ts';
import { fileError } from '../base/files.ts';
import { type Dependency, isInstalled, missingDependency } from '../base/optional.ts';
import { neededNode } from '../base/version.ts';
import { freeSpace, locateCache } from '../cache/location.ts';
import { openState } from '../catalog/state.ts';
import { OPENPGP } from '../image/signatures.ts';
import { configuredInstances, instanceNamed } from '../settings/instances.ts';
import { getPaths, type Paths } from '../settings/paths.ts';
import { readClientSecrets } from '../settings/secrets.ts';
import { isLibraryDisabled, openUserLibrary } from './library.ts';
import { createBackend } from './session.ts';

const run = promisify(execFile);

/** Milliseconds after which a service counts as unreachable. */
const TIME_LIMIT = 10_000;

/** Bytes of free space below which the cache has hardly room for an image. */
const LITTLE_SPACE = 2 * 1024 ** 3;

/** Checks of this machine, which matter to every backend. */
export function machineChecks(env: NodeJS.ProcessEnv): Check[] {
  const paths = getPaths(env);
  return [
    { name: 'node', required: true, run: async () => checkNode(process.versions.node) },
    { name: 'secrets file', required: true, run: () => checkSecrets(paths.secretsFile) },
    { name: 'cache directory', required: true, run: () => checkCache(paths.cacheDir) },
    { name: 'cache file system', required: false, run: () => checkCacheFileSystem(paths.cacheDir) },
    { name: 'catalog', required: true, run: async () => checkCatalog(paths, env) },
    { name: 'singularity', required: false, run: checkSingularity },
    packageCheck('Verifying signatures', OPENPGP),
  ];
}

/** One check for each package that the drivers of the configured backends declare. */
export async function dependencyChecks(env: NodeJS.ProcessEnv): Promise<Check[]> {
  const secrets = await readClientSecrets(getPaths(env).secretsFile).catch(() => ({}));
  const { instances } = configuredInstances({ drivers, env, secrets });
  const used = new Set(instances.map(({ driver }) => driver));
  return drivers
    .filter(({ name }) => used.has(name))
    .flatMap(({ name, dependencies = [] }) =>
      dependencies.map((dependency) => packageCheck(`The driver ${name}`, dependency)),
    );
}

/** Checks an optional package. It is not required, as a driver needs it for some features only. */
function packageCheck(user: string, dependency: Dependency): Check {
  return {
    name: `package ${dependency.module}`,
    required: false,
    run: async () => {
      if (isInstalled(dependency)) return `${user} uses it ${dependency.purpose}`;
      throw missingDependency(user, dependency);
    },
  };
}

/** One check for each configured backend: does its service answer? */
export async function backendChecks(env: NodeJS.ProcessEnv): Promise<Check[]> {
  const secrets = await readClientSecrets(getPaths(env).secretsFile).catch(() => ({}));
  const { instances, problems } = configuredInstances({ drivers, env, secrets });
  const checks = instances.map(({ name }) => ({
    name: `backend ${name}`,
    // Not required: other backends work without it.
    required: false,
    run: (signal?: AbortSignal) => checkBackend(name, env, signal),
  }));
  const broken = problems.map((problem) => ({
    name: 'backend',
    required: true,
    run: async (): Promise<string> => {
      throw problem;
    },
  }));
  return [...checks, ...broken];
}

async function checkBackend(name: string, env: NodeJS.ProcessEnv, signal?: AbortSignal): Promise<string> {
  const secrets = await readClientSecrets(getPaths(env).secretsFile);
  const backend = await createBackend(instanceNamed(name, { drivers, secrets }), { env, secrets });
  try {
    await backend.check?.(AbortSignal.any([AbortSignal.timeout(TIME_LIMIT), ...(signal ? [signal] : [])]));
    return backend.check === undefined ? backend.target : `${backend.target} answers`;
  } finally {
    await backend.close?.();
  }
}

function checkNode(present: string): string {
  const [major = 0, minor = 0] = present.split('.').map(Number);
  const [neededMajor = 0, neededMinor = 0] = neededNode.split('.').map(Number);
  if (major > neededMajor || (major === neededMajor && minor >= neededMinor)) return present;
  throw new SregistryError(
    'MISSING_DEPENDENCY',
    `Node ${present} is too old: sregistry needs ${neededNode} or newer`,
    {
      hint: 'In a checkout, run scripts/setup. Elsewhere, install Node from https://nodejs.org',
    },
  );
}

async function checkSecrets(file: string): Promise<string> {
  await readClientSecrets(file);
  const stats = await stat(file).catch(() => undefined);
  if (stats === undefined) return `${file} does not exist yet`;
  if ((stats.mode & 0o077) !== 0) {
    throw new SregistryError('SETTINGS', `Other users can read ${file}, which holds secrets`, {
      hint: `chmod 600 ${file}`,
    });
  }
  return `${file}, readable only by you`;
}

async function checkCache(folder: string): Promise<string> {
  const hint = 'Set SREGISTRY_CACHEDIR to a folder you can write to';
  try {
    const { root } = await locateCache(folder);
    await access(root, constants.W_OK);
    const free = await freeSpace(root);
    const shown = `${root}, ${bytes.format(free)} free`;
    if (free >= LITTLE_SPACE) return shown;
    throw new SregistryError('NO_SPACE', `The cache directory has little free space: ${shown}`, {
      hint: 'Free some with: sregistry cache prune. Or set SREGISTRY_CACHEDIR to another folder',
    });
  } catch (error) {
    const failure = fileError('write to', folder, error);
    if (failure instanceof SregistryError && failure.hint !== undefined) throw failure;
    throw new SregistryError('SETTINGS', `The cache directory ${folder} cannot be used`, {
      hint,
      cause: error,
    });
  }
}

async function checkCacheFileSystem(folder: string): Promise<string> {
  const { network } = await locateCache(folder);
  if (network === undefined) return 'local';
  throw new SregistryError(
    'SETTINGS',
    `${folder} is on ${network}: the cache is slower there, and each machine has its own part of it`,
    {
      hint: 'export SREGISTRY_CACHEDIR=/path/on/a/local/disk',
    },
  );
}

async function checkCatalog(paths: Paths, env: NodeJS.ProcessEnv): Promise<string> {
  const { root, network } = await locateCache(paths.cacheDir);
  openState(root, network === undefined ? {} : { journalMode: 'delete' }).close();
  if (isLibraryDisabled(env)) return 'The library is disabled';
  const library = openUserLibrary(env);
  try {
    return `${library.images().length} images in ${paths.databaseFile}`;
  } finally {
    library.close();
  }
}

async function checkSingularity(): Promise<string> {
  for (const program of ['apptainer', 'singularity']) {
    const found = await run(program, ['--version']).catch(() => undefined);
    if (found !== undefined) return found.stdout.trim();
  }
  throw new SregistryError('MISSING_DEPENDENCY', 'Neither apptainer nor singularity is installed', {
    hint: 'You need one of them only to run images: https://apptainer.org',
  });
}
