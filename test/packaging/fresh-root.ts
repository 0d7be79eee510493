/**
 * A fresh Debian: the sid of the tests (../servers/sid) below an overlay, in a mount and a pid namespace of its own. What a script
 * leaves behind is in the overlay's upper folder; what still runs when it ends is killed. Needs root.
 */
import { execFile } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  cpSync,
  globSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { TEST_STATE } from '../servers/apptainer.ts';

const SID = join(TEST_STATE, 'sid');

/** An ordinary user of it. */
const USER = { name: 'kim', id: 1234 };
const HOME = `/home/${USER.name}`;

/** Builds the root from the folders in $ROOT and runs the rest in it. Each thing it mounts ends with the namespace. */
const ENTER = `
  mount --make-rprivate /
  mount -t overlay -o "lowerdir=$ROOT/more:$SID,upperdir=$ROOT/upper,workdir=$ROOT/work" overlay "$ROOT/root"
  cd "$ROOT/root"
  mount -t tmpfs -o mode=755 tmpfs dev
  mknod -m 666 dev/null c 1 3
  mknod -m 666 dev/zero c 1 5
  mknod -m 666 dev/full c 1 7
  mknod -m 666 dev/urandom c 1 9
  mknod -m 666 dev/random c 1 8
  mknod -m 666 dev/fuse c 10 229
  ln -s /proc/self/fd dev/fd
  mount -t proc proc proc
  mount -t tmpfs -o mode=1777 tmpfs tmp
  mount -t tmpfs -o mode=755 tmpfs run
  for pair in $BINDS; do
    mkdir -p ".\${pair#*:}"
    mount --bind "\${pair%%:*}" ".\${pair#*:}"
  done
  mkdir .host
  pivot_root . .host
  umount -l /.host
  rmdir /.host
  cd /root
  as_user() { setpriv --reuid=${USER.id} --regid=${USER.id} --clear-groups env -i -C ${HOME} HOME=${HOME} PATH="$PATH" bash --norc -euc "$1"; }
  export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
`;

export class FreshRoot {
  readonly #folder = mkdtempSync(join(tmpdir(), 'sregistry-root-'));
  readonly #binds: string[] = [];

  constructor() {
    for (const name of ['more', 'upper', 'work', 'root']) mkdirSync(join(this.#folder, name));
    chmodSync(this.#folder, 0o755);
    this.put(join(SID, 'etc/passwd'), '/etc/passwd');
    appendFileSync(this.#more('/etc/passwd'), `${USER.name}:x:${USER.id}:${USER.id}::${HOME}:/bin/bash\n`);
    // debootstrap leaves it out, and fusermount needs it.
    symlinkSync('/proc/self/mounts', this.#more('/etc/mtab'));
    mkdirSync(this.#more(HOME), { recursive: true });
    chownSync(this.#more(HOME), USER.id, USER.id);
  }

  #more = (path: string) => join(this.#folder, 'more', path);

  /** Copies a file of this machine into it, before the first script. */
  put(from: string, to: string): void {
    mkdirSync(dirname(this.#more(to)), { recursive: true });
    cpSync(from, this.#more(to), { recursive: true });
  }

  /** Shows a folder of this machine in it, at `to`. */
  bind(from: string, to: string): void {
    this.#binds.push(`${from}:${to}`);
  }

  /**
   * Runs a script as root, which may call `as_user SCRIPT`; what both print. Throws an error with all of it if one of the commands
   * fails.
   */
  async run(script: string): Promise<string> {
    const words = [
      '--mount',
      '--pid',
      '--fork',
      '--kill-child',
      'bash',
      '--norc',
      '-euo',
      'pipefail',
      '-c',
      `${ENTER}\n${script}`,
    ];
    const env = {
      PATH: process.env.PATH,
      ROOT: this.#folder,
      SID,
      BINDS: this.#binds.join(' '),
      LC_ALL: 'C.UTF-8',
    };
    try {
      const options = { env, timeout: 300_000, killSignal: 'SIGKILL', maxBuffer: 1 << 24 } as const;
      const { stdout, stderr } = await promisify(execFile)('unshare', words, options);
      return stdout + stderr;
    } catch (error) {
      const { stdout, stderr } = error as { stdout: string; stderr: string };
      throw new Error(`The script failed:\n${stdout}${stderr}`);
    }
  }

  /** Files and links that scripts left on its disk, and what they removed from it. */
  traces(): string[] {
    const upper = join(this.#folder, 'upper');
    return globSync('**', { cwd: upper })
      .filter((path) => !lstatSync(join(upper, path)).isDirectory())
      .map((path) => `/${path}`)
      .sort();
  }

  remove(): void {
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 3 });
  }
}
