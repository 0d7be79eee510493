/**
 * The adapter to fuse-native (fuse-binding.ts). It answers every operation exactly once, with an errno if the
 * filesystem threw. It sets no time limit: each operation of the filesystem has a deadline of its own, and a push takes as long
 * as it needs.
 */
import { constants as files } from 'node:fs';
import { readdir, readlink } from 'node:fs/promises';
import { constants } from 'node:os';
import { SregistryError } from '../base/errors.ts';
import { debugLog } from '../log/index.ts';
import type { Attributes } from './attributes.ts';
import { errnoOf } from './errno.ts';
import type { Filesystem } from './filesystem.ts';
import { type Answer, type Handler, loadFuseWithReads } from './fuse-binding.ts';
import { requireSharing } from './fuse-conf.ts';
import { provideFusermount } from './fusermount.ts';
import { OpenAsTold } from './open-as-told.ts';
import { ToldAttributes } from './told.ts';
import { isOwnAttribute } from './xattrs.ts';

const debug = debugLog('fuse');
const { ENOENT, ENODATA, ENOTSUP, EPERM, ERANGE, ESTALE } = constants.errno;

/** Bytes of a "block" in statfs. fuse-native keeps counts in 32 bits: with 1 MiB they reach 4 PiB. */
const STATFS_BLOCK = 1024 * 1024;
/**
 * Seconds for which the kernel believes names and attributes at most, as NFS has it for files (nfs(5), acregmin). An open shows what
 * is there now, however long the kernel believes (told.ts).
 */
const LONGEST_BELIEF = 3;
/** Longest file name (NAME_MAX). */
const NAME_MAX = 255;

/** What fuse-native takes for the attributes of an entry of a folder. Of those, libfuse passes on only the kind. */
const [FILE, FOLDER] = [files.S_IFREG, files.S_IFDIR].map((mode) => new Uint32Array(18).fill(mode, 0, 1));

/** If fuse-native has no such operation, libfuse answers ENOSYS, and the kernel does not ask again. */
const XATTR_OPERATIONS = ['getxattr', 'listxattr', 'setxattr', 'removexattr'];

export interface MountOptions {
  readonly mountpoint: string;
  readonly allowOther: boolean;
  readonly readOnly: boolean;
  /** Milliseconds for which the mount itself trusts what a service said. */
  readonly ttl: number;
  /** Without extended attributes the kernel asks for none, which makes `ls -l` faster. */
  readonly hasXattrs: boolean;
  /** Further options of the mount, as `-o` takes them. */
  readonly extra: readonly string[];
}

/**
 * Mounts the filesystem. Resolves when the kernel has it. Throws MISSING_DEPENDENCY if libfuse 2 is not installed, SETTINGS if
 * the machine does not let this user share a mount.
 */
export async function mountFuse(filesystem: Filesystem, options: MountOptions): Promise<void> {
  if (options.allowOther) await requireSharing();
  const run = runner(filesystem);
  const all = operations(filesystem, run);
  const Fuse = loadFuseWithReads(all.read);
  class Mount extends Fuse {
    /**
     * Options that fuse-native does not know, or not with the value 0: 128 KiB writes instead of 4 KiB, how long to believe, pages
     * kept at an open if size and time are the same, looked at each time, and those of `-o`.
     */
    override _fuseOptions(): string {
      const belief = Math.min(options.ttl / 1000, LONGEST_BELIEF);
      const believe = [`attr_timeout=${belief}`, `entry_timeout=${belief}`];
      const more = ['big_writes', ...believe, 'auto_cache', 'ac_attr_timeout=0', ...options.extra];
      if (options.readOnly) more.push('ro');
      // The adapter does not learn who calls. If other users may use the mount, the kernel must check the modes.
      if (options.allowOther) more.push('default_permissions');
      return [super._fuseOptions(), ...more].join(',');
    }

    /** fuse-native's own method answers more bytes than the caller has room for. xattr(7) requires ERANGE. */
    override _op_getxattr(signal: Answer, path: string, name: string, target: Buffer): void {
      const answer = (result: number) => signal(result, target.buffer);
      // `ls -l` asks each file for attributes of others (security.selinux, system.posix_acl_access).
      if (!isOwnAttribute(name)) answer(-ENODATA);
      else
        run('getxattr', path, answer, async () => {
          const value = await filesystem.getxattr(path, name);
          if (value === undefined) throw systemError(ENODATA);
          return fill(target, value);
        });
    }

    /** fuse-native's own method asks for the path, which may show something else than the handle has open. */
    override _op_fgetattr(signal: Answer, path: string, handle: number): void {
      const getattr = (_path: string, answer: Answer) => all.fgetattr(path, handle, answer);
      super._op_getattr.call({ ops: { getattr } }, signal, path);
    }

    override _op_listxattr(signal: Answer, path: string, target: Buffer): void {
      const answer = (result: number) => signal(result, target.buffer);
      run('listxattr', path, answer, async () => {
        const names = await filesystem.listxattr(path);
        return fill(target, Buffer.from(names.map((name) => `${name}\0`).join('')));
      });
    }

    /** As fuse-native's own method, without an array of 18 numbers made for each name. */
    override _op_readdir(signal: Answer, path: string): void {
      run('readdir', path, signal, async () => {
        const names = await filesystem.readdir(path);
        const isFile = filesystem.filesIn(path);
        const kinds = names.map((name) => (isFile(name) ? FILE : FOLDER));
        return [
          ['.', '..', ...names],
          [FOLDER, FOLDER, ...kinds],
        ];
      });
    }
  }
  const handlers: Record<string, Handler> = { ...all };
  if (!options.hasXattrs) for (const name of XATTR_OPERATIONS) delete handlers[name];
  const mount = new Mount(options.mountpoint, handlers, {
    timeout: false,
    fsname: 'sregistry',
    subtype: 'sregistry',
    allowOther: options.allowOther,
  });
  provideFusermount();
  await new Promise<void>((resolve, reject) => {
    mount.mount((error) => (error === null ? resolve() : reject(mountError(options.mountpoint, error))));
  });
}

/**
 * Does the kernel still send operations? The kernel ends the connection when the last user of an unmounted filesystem closes
 * its files, and may drop the release of the last file. libfuse then closes its device.
 */
export async function isConnected(): Promise<boolean> {
  const folder = '/proc/self/fd';
  const names = await readdir(folder);
  const targets = await Promise.all(names.map((name) => readlink(`${folder}/${name}`).catch(() => '')));
  return targets.includes('/dev/fuse');
}

function mountError(mountpoint: string, cause: Error): SregistryError {
  return new SregistryError('UNSUPPORTED', `${mountpoint} cannot be mounted: ${cause.message}`, {
    hint: 'Check that /dev/fuse and fusermount3 exist and that you may write to the folder: sregistry doctor',
    cause,
  });
}

/**
 * Errors that are no failures for the log: a missing file, an attribute longer than the caller's buffer, attributes that the
 * mount does not keep.
 */
const EXPECTED = new Set([ENOENT, ENODATA, ERANGE, ENOTSUP]);

/** Lets the kernel look a path up and open it once more. Its caller does not see it. */
const LOOK_AGAIN = systemError(ESTALE);

type Run = (name: string, path: string, answer: Answer, body: () => Promise<number | unknown[]>) => void;

/** Runs operations and answers with their result (a count, or values), or with the errno of what they threw. */
function runner(filesystem: Filesystem): Run {
  return (name, path, answer, body) => {
    body().then(
      (result) => (Array.isArray(result) ? answer(0, ...result) : answer(result)),
      (error: unknown) => {
        const errno = errnoOf(error);
        if (!EXPECTED.has(errno) && error !== LOOK_AGAIN) {
          filesystem.errors.note(path, error);
          debug('%s %s: %o', name, path, error);
        }
        answer(-errno);
      },
    );
  };
}

/** Copies an attribute's value out, or returns its length if the caller's buffer is empty. */
function fill(target: Buffer, value: Buffer): number {
  if (target.length === 0) return value.length;
  if (target.length < value.length) throw systemError(ERANGE);
  value.copy(target);
  return value.length;
}

function operations(filesystem: Filesystem, run: Run) {
  /** An operation without a result. */
  const plain =
    (name: string, body: (path: string, ...args: never[]) => Promise<void>) =>
    (path: string, ...rest: unknown[]) => {
      const answer = rest.pop() as Answer;
      run(name, path, answer, async () => {
        await body(path, ...(rest as never[]));
        return 0;
      });
    };
  const told = new ToldAttributes();
  const tell = (path: string, attributes: Attributes) => toStat(attributes, told.note(path, attributes));
  const opening = new OpenAsTold(filesystem, told);
  const open = async (path: string, flags: number) => {
    const handle = await opening.open(path, flags);
    if (handle === undefined) throw LOOK_AGAIN;
    return handle;
  };
  const refused = (name: string) => plain(name, async () => Promise.reject(systemError(EPERM)));

  return {
    init: (answer: Answer) => answer(0),
    getattr: (path: string, answer: Answer) => {
      const listed = filesystem.listedAttributes(path);
      if (listed !== undefined) answer(0, tell(path, listed));
      else run('getattr', path, answer, async () => [tell(path, await filesystem.getattr(path))]);
    },
    fgetattr: (path: string, handle: number, answer: Answer) =>
      run('fgetattr', path, answer, async () => [tell(path, await filesystem.fgetattr(path, handle))]),
    // A C library takes ENOENT of readdir for the end of the folder, so opendir reports a missing folder.
    opendir: (path: string, _flags: number, answer: Answer) =>
      run('opendir', path, answer, async () => {
        await filesystem.opendir(path);
        return 0;
      }),
    open: (path: string, flags: number, answer: Answer) =>
      run('open', path, answer, async () => [await open(path, flags)]),
    create: (path: string, _mode: number, answer: Answer) =>
      run('create', path, answer, async () => [await filesystem.create(path)]),
    read: (
      path: string,
      handle: number,
      buffer: Buffer,
      length: number,
      offset: number,
      answer: (result: number) => void,
    ) => {
      const wait = () => run('read', path, answer, () => filesystem.read(handle, buffer, offset, length));
      const done = (count: number | undefined) => (count === undefined ? wait() : answer(count));
      let isBegun = false;
      try {
        isBegun = filesystem.readKnown(handle, buffer, offset, length, done);
      } catch (error) {
        debug('read %s: %o', path, error);
      }
      if (!isBegun) wait();
    },
    write: (path: string, handle: number, buffer: Buffer, length: number, offset: number, answer: Answer) =>
      run('write', path, answer, () => {
        told.noteWrite(path);
        return filesystem.write(handle, buffer, offset, length);
      }),
    flush: plain('flush', (_path, handle) => filesystem.flush(handle)),
    fsync: plain('fsync', (_path, _dataSync, handle) => filesystem.fsync(handle)),
    release: plain('release', (_path, handle) => filesystem.release(handle)),
    truncate: plain('truncate', (path, size) => {
      told.noteWrite(path);
      return filesystem.truncate(path, size);
    }),
    ftruncate: plain('ftruncate', (path, handle, size) => {
      told.noteWrite(path);
      return filesystem.ftruncate(handle, size);
    }),
    unlink: plain('unlink', (path) => filesystem.unlink(path)),
    rename: plain('rename', async (from, to) => {
      await filesystem.rename(from, to);
      told.rename(from, to);
    }),
    mkdir: plain('mkdir', (path) => filesystem.mkdir(path)),
    rmdir: plain('rmdir', (path) => filesystem.rmdir(path)),
    chmod: plain('chmod', (path) => filesystem.setAttributes(path)),
    chown: plain('chown', (path) => filesystem.setAttributes(path)),
    utimens: plain('utimens', (path) => filesystem.setAttributes(path)),
    // Mount's own methods answer these. They are named here so that the kernel learns that they exist.
    readdir: () => {},
    listxattr: () => {},
    getxattr: () => {},
    setxattr: plain('setxattr', async () => Promise.reject(systemError(ENOTSUP))),
    removexattr: plain('removexattr', async () => Promise.reject(systemError(ENOTSUP))),
    statfs: (path: string, answer: Answer) => run('statfs', path, answer, async () => [toStatfs(filesystem)]),
    mknod: refused('mknod'),
    link: refused('link'),
    symlink: refused('symlink'),
  };
}

function systemError(errno: number): Error {
  const code = Object.entries(constants.errno).find(([, value]) => value === errno)?.[0];
  return Object.assign(new Error(code), { code });
}

/** `time`: all times of the file, in milliseconds. Times before 1970 do not fit in what fuse-native passes on. */
function toStat(attributes: Attributes, time: number): object {
  const shown = Math.max(0, time || 0);
  return { ...attributes, mtime: shown, atime: shown, ctime: shown };
}

function toStatfs(filesystem: Filesystem): object {
  const { size, free } = filesystem.statfs();
  const blocks = (bytes: number) => Math.floor(bytes / STATFS_BLOCK);
  return {
    bsize: STATFS_BLOCK,
    frsize: STATFS_BLOCK,
    blocks: blocks(size),
    bfree: blocks(free),
    bavail: blocks(free),
    namemax: NAME_MAX,
  };
}
