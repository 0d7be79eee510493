/** Mount points as the kernel sees them: what is mounted, mending what a dead process left, unmounting. */
import { execFile } from 'node:child_process';
import { mkdir, readdir, readFile, stat } from 'node:fs/promises';
import { promisify } from 'node:util';
import { SregistryError, systemCode } from '../base/errors.ts';

const run = promisify(execFile);

/** Milliseconds a call of fusermount or a look at a mount point may take: a hung mount blocks whoever touches it. */
const PATIENCE = 10_000;

/** File system type that our mounts have in /proc/self/mounts. */
const TYPE = 'fuse.sregistry';

/** Paths where an sregistry is mounted in this mount namespace, alive or not. */
export async function mountedPaths(): Promise<string[]> {
  const table = await readFile('/proc/self/mounts', 'utf8');
  return table
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([, , type]) => type === TYPE)
    .map(([, path = '']) => unescapeOctal(path));
}

/** proc(5): space, tab, newline and backslash stand as octal escapes. */
function unescapeOctal(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(Number.parseInt(octal, 8)));
}

export async function isMounted(mountpoint: string): Promise<boolean> {
  return (await mountedPaths()).includes(mountpoint);
}

/**
 * Makes a folder ready to be mounted on: creates it, and unmounts what a process that died left there. BUSY where a
 * living process serves it, USAGE where it is no folder.
 */
export async function prepareMountpoint(mountpoint: string): Promise<void> {
  if (await isMounted(mountpoint)) {
    if (await isServed(mountpoint)) {
      throw new SregistryError('BUSY', `${mountpoint} is mounted already`, {
        hint: `sregistry status ${mountpoint} shows it; sregistry unmount ${mountpoint} ends it`,
      });
    }
    await unmount(mountpoint);
  }
  try {
    await mkdir(mountpoint, { recursive: true });
  } catch (cause) {
    throw new SregistryError('USAGE', `${mountpoint} cannot be made a folder to mount on`, {
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

/** Does a process answer for the mount? A dead one's gives ENOTCONN; a hung one's nothing in time. */
export async function isServed(mountpoint: string): Promise<boolean> {
  try {
    await within(stat(mountpoint), PATIENCE);
    return true;
  } catch (error) {
    return !['ENOTCONN', 'ECONNABORTED'].includes(systemCode(error) ?? '') && !isTimeout(error);
  }
}

const TIMEOUT = Symbol('timeout');
const isTimeout = (error: unknown) => error === TIMEOUT;

function within<T>(promise: Promise<T>, milliseconds: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(reject, milliseconds, TIMEOUT);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/**
 * Unmounts; where files are open on it, lazily: it is gone from the tree at once, and for them when they are closed.
 * Tells whether it was lazy. Not an error where nothing is mounted any more.
 */
export async function unmount(mountpoint: string): Promise<'clean' | 'lazy'> {
  if (await fusermount('-u', mountpoint)) return 'clean';
  if (!(await isMounted(mountpoint))) return 'clean';
  if (await fusermount('-uz', mountpoint)) return 'lazy';
  throw new SregistryError('MISSING_DEPENDENCY', `${mountpoint} cannot be unmounted`, {
    hint: `Is fusermount3 installed? As root: umount -l ${mountpoint}`,
  });
}

async function fusermount(flags: string, mountpoint: string): Promise<boolean> {
  for (const program of ['fusermount3', 'fusermount']) {
    try {
      await run(program, [flags, '--', mountpoint], { timeout: PATIENCE });
      return true;
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') return false;
    }
  }
  const umount = flags === '-uz' ? ['-l'] : [];
  return run('umount', [...umount, mountpoint], { timeout: PATIENCE }).then(
    () => true,
    () => false,
  );
}
