/**
 * What is tortured: a home folder with its configuration and cache, and mounts in it, started and ended by the command line as
 * a user does.
 */
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isMounted } from '../../src/fs/mountpoint.ts';

const SREGISTRY = join(import.meta.dirname, '../../bin/sregistry.js');

/** Seconds within which an operation on a mount that asks a service ends (`SREGISTRY_TIMEOUT`). */
export const DEADLINE = 10;
/** Milliseconds a command of ours may take, on a machine with much to do. */
const COMMAND_LIMIT = 90_000;
/** In the environment of every process that belongs to a rig, so that those left behind are found. */
const MARK = 'SREGISTRY_TORTURE';

export interface Outcome {
  /** undefined where it did not end within {@link COMMAND_LIMIT}. */
  readonly code: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

export interface PushStatus {
  readonly uri: string;
  readonly state: string;
  readonly size: number;
  readonly error?: string;
  readonly updated?: string;
}

export interface Status {
  readonly mounts: readonly { mountpoint: string; pid: number; openFiles: number; pushing: number }[];
  readonly pushes: readonly PushStatus[];
}

export interface CacheLimits {
  /** Bytes. */
  readonly size: number;
  /** Bytes that stay free on its file system. */
  readonly minFree: number;
}

export class Rig {
  readonly home = mkdtempSync(join(tmpdir(), 'sregistry-torture-'));
  /** The cache directory that mounts start with. */
  cache = join(this.home, 'cache');
  limits: CacheLimits = { size: 0, minFree: 0 };

  constructor() {
    for (const folder of ['run', 'src']) mkdirSync(join(this.home, folder), { mode: 0o700 });
  }

  get runtime(): string {
    return join(this.home, 'run/sregistry');
  }

  get logs(): string {
    return join(this.home, '.local/state/sregistry');
  }

  get env(): NodeJS.ProcessEnv {
    return {
      PATH: process.env.PATH,
      HOME: this.home,
      XDG_RUNTIME_DIR: join(this.home, 'run'),
      SREGISTRY_CACHEDIR: this.cache,
      SREGISTRY_TIMEOUT: String(DEADLINE),
      LC_ALL: 'C.UTF-8',
      [MARK]: this.home,
    };
  }

  /** Runs `sregistry ARGS...`. */
  sregistry(...args: string[]): Promise<Outcome> {
    return this.run(process.execPath, [SREGISTRY, ...args]);
  }

  run(command: string, args: string[]): Promise<Outcome> {
    const options = {
      env: this.env,
      timeout: COMMAND_LIMIT,
      killSignal: 'SIGKILL',
      maxBuffer: 1 << 26,
    } as const;
    return new Promise((resolve) => {
      execFile(command, args, options, (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === 'number' ? error.code : undefined;
        resolve({ code, stdout, stderr });
      });
    });
  }

  async ok(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.sregistry(...args);
    if (code !== 0) throw new Error(`sregistry ${args.join(' ')} ended with ${code}: ${stderr}${stdout}`);
    return stdout;
  }

  async status(): Promise<Status> {
    const { stdout, stderr } = await this.sregistry('status', '--json');
    try {
      return JSON.parse(stdout);
    } catch {
      throw new Error(`sregistry status --json printed no JSON: ${stdout}${stderr}`);
    }
  }

  /** Which process serves which mount point, by the records in the runtime directory. */
  servers(): Map<string, number> {
    const names = readdirSync(this.runtime).filter((name) => name.endsWith('.json'));
    return new Map(
      names.map((name) => {
        const { mountpoint, pid } = JSON.parse(readFileSync(join(this.runtime, name), 'utf8'));
        return [mountpoint, pid];
      }),
    );
  }

  /** Processes of this rig, by what their environment says; zombies are none. */
  processes(): { pid: number; command: string }[] {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .flatMap((name) => {
        try {
          const isOurs = readFileSync(`/proc/${name}/environ`, 'utf8').includes(`${MARK}=${this.home}\0`);
          if (!isOurs) return [];
          const command = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ').slice(0, 200);
          return [{ pid: Number(name), command }];
        } catch {
          return [];
        }
      });
  }

  /** Kills all of its processes. */
  end(): void {
    for (const { pid } of this.processes()) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It ended by itself.
      }
    }
  }

  remove(): void {
    rmSync(this.home, { recursive: true, force: true, maxRetries: 3 });
  }
}

/** Milliseconds a process may take to end after it was told to: it may wait for pushes, but no longer than systemd would. */
const END_LIMIT = 90_000;

/** One mount, or the place for one. */
export class MountPoint {
  readonly path: string;
  readonly name: string;
  readonly #rig: Rig;
  readonly #flags: readonly string[];
  /** The process that serves it. */
  pid: number | undefined;
  /** Is it stopped (SIGSTOP)? */
  stopped = false;
  /** Is somebody taking care that it comes back? */
  returning = false;
  /** When it last answered to nobody: stopped, killed, or just started. Milliseconds since the epoch. */
  disturbed = 0;

  constructor(rig: Rig, name: string, flags: readonly string[]) {
    this.#rig = rig;
    this.name = name;
    this.path = join(rig.home, name);
    this.#flags = flags;
  }

  get isUp(): boolean {
    return this.pid !== undefined && isRunning(this.pid);
  }

  /** Mounts, over what a dead process left. */
  async mount(): Promise<Outcome> {
    const { size, minFree } = this.#rig.limits;
    const limits = ['--cache-size', String(size), '--cache-min-free', String(minFree)];
    const outcome = await this.#rig.sregistry(
      'mount',
      this.path,
      '--ext',
      'sif',
      '--ttl',
      '1s',
      ...limits,
      ...this.#flags,
    );
    this.stopped = false;
    this.disturbed = Date.now();
    this.pid = this.#rig.servers().get(this.path);
    return outcome;
  }

  unmount(...flags: string[]): Promise<Outcome> {
    return this.#rig.sregistry('unmount', this.path, ...flags);
  }

  signal(signal: NodeJS.Signals): void {
    if (this.pid === undefined) return;
    this.disturbed = Date.now();
    try {
      process.kill(this.pid, signal);
    } catch {
      // It ended by itself just now, which whoever looks next sees.
    }
    if (signal === 'SIGSTOP') this.stopped = true;
    if (signal === 'SIGCONT' || signal === 'SIGKILL') this.stopped = false;
  }

  /** Waits until its process has ended; false where it does not in time. */
  async ended(): Promise<boolean> {
    const deadline = Date.now() + END_LIMIT;
    while (this.isUp) {
      if (Date.now() > deadline) return false;
      await sleep(50);
    }
    return true;
  }

  /** Takes it out of the tree, whoever uses it. */
  async cut(): Promise<void> {
    if (await isMounted(this.path)) await this.#rig.run('fusermount3', ['-uz', this.path]);
  }

  /** Ends everything of it. */
  async destroy(): Promise<void> {
    this.signal('SIGKILL');
    await this.ended();
    await this.cut();
  }
}

/** Is there a process that is no zombie? */
export function isRunning(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2));
  } catch {
    return false;
  }
}
