/** Mount points as the kernel sees them: lists mounts, clears mounts of dead processes, and unmounts. */
import { execFile } from 'node:child_process';
import { mkdir, readdir, readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { SregistryError, systemCode } from '../base/errors.ts';

const run = promisify(execFile);

/** Milliseconds a call of fusermount or a look at a mount point may take: a hung mount blocks every process that touches it. */
const TIME_LIMIT = 10_000;

/** Environment for programs whose messages are parsed here. */
const IN_ENGLISH = { ...process.env, LC_ALL: 'C' };

/** File system type that our mounts have in /proc/self/mounts. */
const TYPE = 'fuse.sregistry';

/** Paths where an sregistry is mounted in this mount namespace, alive or not. */
export async function mountedPaths(): Promise<string[]> {
  return (await mountTable()).filter(({ type }) => type === TYPE).map(({ path }) => path);
}

/** Milliseconds for a look at a mount of perhaps another user. The kernel itself says that one is dead, at once. */
const DEAD_TIME_LIMIT = 1_000;

/** Where a mount is whose process has ended: nobody answers there. `living`: mount points of processes that are known to live. */
export async function deadMounts(living: readonly string[]): Promise<string[]> {
  const unknown = (await mountedPaths()).filter((path) => !living.includes(path));
  const services = await Promise.all(unknown.map((path) => serviceOf(path, DEAD_TIME_LIMIT)));
  return unknown.filter((_, index) => services[index] === 'dead');
}

/** A line of the mount table. */
export interface MountEntry {
  readonly id: string;
  /** `major:minor` of its file system. */
  readonly device: string;
  /** Which folder or file of the file system is mounted. */
  readonly root: string;
  /** Where it is mounted, as the process sees it. */
  readonly path: string;
  readonly type: string;
}

/** What is mounted in the mount namespace of a process, oldest first; from /proc/<pid>/mountinfo, see proc(5). */
export async function mountTable(pid: number | 'self' = 'self'): Promise<MountEntry[]> {
  const table = await readFile(`/proc/${pid}/mountinfo`, 'utf8');
  return table
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [id = '', , device = '', root = '', path = ''] = line.split(' ');
      // Optional fields stand between these and a lone hyphen.
      const [type = ''] = line.slice(line.indexOf(' - ') + 3).split(' ');
      return { id, device, root: unescapeOctal(root), path: unescapeOctal(path), type };
    });
}

/** proc(5): space, tab, newline and backslash stand as octal escapes. */
function unescapeOctal(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(Number.parseInt(octal, 8)));
}

export async function isMounted(mountpoint: string): Promise<boolean> {
  return (await mountedPaths()).includes(mountpoint);
}

/**
 * Prepares a folder for a mount: creates it, and unmounts what a dead process left there. Throws BUSY if a process serves a
 * mount there, even if that process does not answer now; USAGE if it is not an empty folder.
 */
export async function prepareMountpoint(mountpoint: string): Promise<void> {
  if (await isMounted(mountpoint)) {
    const service = await serviceOf(mountpoint);
    if (service !== 'dead') {
      throw new SregistryError('BUSY', `${mountpoint} is mounted already`, {
        hint:
          service === 'alive'
            ? `sregistry status ${mountpoint} shows it; sregistry unmount ${mountpoint} ends it`
            : `It does not answer; sregistry unmount --force ${mountpoint} ends it`,
      });
    }
    await unmountLazily(mountpoint);
  }
  try {
    await mkdir(mountpoint, { recursive: true });
  } catch (cause) {
    throw new SregistryError('USAGE', `Cannot create the folder ${mountpoint} to mount on`, {
      hint: 'Name a folder of yours, or one that you may create',
      cause,
    });
  }
  const names = await readdir(mountpoint);
  if (names.length > 0) {
    throw new SregistryError('USAGE', `${mountpoint} is not empty: its files would be hidden`, {
      hint: 'Mount on an empty folder',
    });
  }
}

/** The state of a mount's process: it answers, it is dead (ENOTCONN), or it does not answer in time (milliseconds). */
export type Service = 'alive' | 'dead' | 'silent';

export async function serviceOf(mountpoint: string, timeout = TIME_LIMIT): Promise<Service> {
  try {
    // A process of its own can be killed. A call that waits for a hung mount would keep this process from ending.
    await run('stat', ['--', mountpoint], { timeout, killSignal: 'SIGKILL', env: IN_ENGLISH });
    return 'alive';
  } catch (error) {
    const { killed, stderr } = error as { killed?: boolean; stderr?: string };
    if (killed) return 'silent';
    // strerror(3) of ENOTCONN and ECONNABORTED.
    return /endpoint is not connected|connection abort/i.test(stderr ?? '') ? 'dead' : 'alive';
  }
}

/**
 * Unmounts a mount that nobody uses. Returns false and changes nothing if the kernel says that it is in use. Not an error if
 * nothing is mounted there any more. Throws MISSING_DEPENDENCY if no program can unmount it.
 */
export async function unmountUnused(mountpoint: string): Promise<boolean> {
  return (await fusermount(mountpoint, 'unused')) !== 'busy';
}

/**
 * Unmounts at once: the mount leaves the tree, and ends for its users when they close it. Returns whether it was in use. Not an
 * error if nothing is mounted there any more. Throws MISSING_DEPENDENCY if no program can unmount it.
 */
export async function unmountLazily(mountpoint: string): Promise<'unused' | 'used'> {
  if (await unmountUnused(mountpoint).catch(() => false)) return 'unused';
  await fusermount(mountpoint, 'lazily');
  return 'used';
}

/** Programs that unmount, the best first, and the options of each for both ways. */
const PROGRAMS = [
  { program: 'fusermount3', unused: ['-u'], lazily: ['-uz'] },
  { program: 'fusermount', unused: ['-u'], lazily: ['-uz'] },
  { program: 'umount', unused: [], lazily: ['-l'] },
] as const;

async function fusermount(mountpoint: string, way: 'unused' | 'lazily'): Promise<'done' | 'busy'> {
  for (const { program, [way]: options } of PROGRAMS) {
    try {
      await run(program, [...options, '--', mountpoint], {
        timeout: TIME_LIMIT,
        env: IN_ENGLISH,
      });
      return 'done';
    } catch (cause) {
      if (systemCode(cause) === 'ENOENT') continue;
      if (!(await isMounted(mountpoint))) return 'done';
      // strerror(3) of EBUSY, or umount's own words: "target is busy".
      if (way === 'unused' && /\bbusy\b/.test((cause as { stderr?: string }).stderr ?? '')) return 'busy';
      throw unmountable(mountpoint, cause);
    }
  }
  throw unmountable(mountpoint);
}

function unmountable(mountpoint: string, cause?: unknown): SregistryError {
  return new SregistryError('MISSING_DEPENDENCY', `${mountpoint} cannot be unmounted`, {
    hint: `Is fusermount3 installed? As root: umount -l ${mountpoint}`,
    cause,
  });
}
