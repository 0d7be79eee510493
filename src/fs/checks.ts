/** What mounting needs of this machine, for `sregistry doctor`. */
import { execFile } from 'node:child_process';
import { access, constants } from 'node:fs/promises';
import { promisify } from 'node:util';
import type { Check } from '../base/check.ts';
import { SregistryError, systemCode } from '../base/errors.ts';
import { version } from '../base/version.ts';
import { getPaths, hasRuntimeDir } from '../settings/paths.ts';
import { mountStatuses } from './daemon.ts';
import { loadFuse } from './fuse-binding.ts';
import { listMounts } from './mount-record.ts';
import { outdated } from './mount-version.ts';
import { mountedPaths, serviceOf } from './mountpoint.ts';

const run = promisify(execFile);

const DEVICE = '/dev/fuse';

export function mountChecks(env: NodeJS.ProcessEnv): Check[] {
  return [
    { name: 'libfuse 2', required: true, run: checkLibrary },
    { name: 'fusermount', required: true, run: checkFusermount },
    { name: DEVICE, required: true, run: checkDevice },
    { name: 'mounts', required: true, run: () => checkMounts(env) },
    { name: 'versions of mounts', required: false, run: () => checkVersions(env) },
  ];
}

async function checkLibrary(): Promise<string> {
  loadFuse();
  return 'fuse-native loads';
}

async function checkFusermount(): Promise<string> {
  for (const program of ['fusermount3', 'fusermount']) {
    const found = await run(program, ['--version']).catch(() => undefined);
    if (found !== undefined) return found.stdout.trim();
  }
  throw new SregistryError('MISSING_DEPENDENCY', 'fusermount is not installed', {
    hint: 'Debian, Ubuntu: apt-get install fuse3. Fedora, RHEL: dnf install fuse3',
  });
}

async function checkDevice(): Promise<string> {
  try {
    await access(DEVICE, constants.R_OK | constants.W_OK);
    return 'accessible';
  } catch (cause) {
    const isThere = systemCode(cause) !== 'ENOENT';
    throw new SregistryError(
      'MISSING_DEPENDENCY',
      `${DEVICE} ${isThere ? 'is not yours to use' : 'is not there'}`,
      {
        hint: isThere
          ? `As root: chmod 666 ${DEVICE}`
          : 'As root: modprobe fuse. In a container: start it with --device /dev/fuse --cap-add SYS_ADMIN',
        cause,
      },
    );
  }
}

async function checkMounts(env: NodeJS.ProcessEnv): Promise<string> {
  const { runtimeDir } = getPaths(env);
  hasRuntimeDir(runtimeDir);
  const living = (await listMounts(runtimeDir)).map(({ mountpoint }) => mountpoint);
  const mounted = await mountedPaths();
  for (const path of mounted) {
    if (living.includes(path)) continue;
    const service = await serviceOf(path);
    if (service === 'alive') continue;
    throw new SregistryError(
      'BUSY',
      `The process of the mount at ${path} ${service === 'dead' ? 'is dead' : 'does not answer'}`,
      { hint: `sregistry unmount ${service === 'dead' ? '' : '--force '}${path}` },
    );
  }
  return mounted.length === 0 ? 'none' : mounted.join(', ');
}

async function checkVersions(env: NodeJS.ProcessEnv): Promise<string> {
  const { mounts } = await mountStatuses(env);
  const others = mounts.filter((mount) => outdated(mount) !== undefined);
  if (others.length === 0) return version;
  throw new SregistryError('UNSUPPORTED', `Mounts of another version than ${version}`, {
    hint: others.map(outdated).join('; '),
  });
}
