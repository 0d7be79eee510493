/** The real thing: the CLI as a child process, mounts of its own, a real registry, and a home that nobody else uses. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { vi } from 'vitest';
import type { MountStatus } from '../../src/fs/control.ts';
import { logPath } from '../../src/fs/mount-record.ts';
import { isMounted } from '../../src/fs/mountpoint.ts';
import { apptainer } from '../servers/apptainer.ts';

const ROOT = join(import.meta.dirname, '../..');
const SREGISTRY = join(ROOT, 'bin/sregistry.js');

/** Milliseconds after which a command is killed: a mount that hangs must not hang the tests. */
const LIMIT = 60_000;

export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Status {
  readonly mounts: MountStatus[];
  readonly pushes: { uri: string; state: string; bytes: number; size: number; error?: string }[];
}

/** A home folder with a mount point; `end` unmounts and removes everything. */
export class World {
  readonly home: string;
  readonly mountpoint: string;
  readonly env: NodeJS.ProcessEnv;

  private constructor(home: string) {
    this.home = home;
    this.mountpoint = join(home, 'mnt');
    this.env = {
      PATH: process.env.PATH,
      HOME: home,
      XDG_RUNTIME_DIR: home,
      LC_ALL: 'C.UTF-8',
      MNT: this.mountpoint,
      SREGISTRY_TIMEOUT: '20',
    };
  }

  static async create(): Promise<World> {
    return new World(await mkdtemp(join(tmpdir(), 'sregistry-e2e-')));
  }

  /** What Node runs for `sregistry`. */
  readonly executable = SREGISTRY;

  get cache(): string {
    return join(this.home, '.cache/sregistry');
  }

  /** Runs `sregistry ARGS...`. */
  sregistry(...args: string[]): Promise<Outcome> {
    return this.run(process.execPath, [SREGISTRY, ...args]);
  }

  /** Runs a line of bash in the home folder; `$MNT` is the mount point. */
  shell(script: string): Promise<Outcome> {
    return this.run('bash', ['-c', script]);
  }

  /** Runs Apptainer with a cache, a configuration and keys of its own; its output. */
  async apptainer(...args: string[]): Promise<string> {
    const env = {
      APPTAINER_CACHEDIR: join(this.home, 'ac'),
      APPTAINER_CONFIGDIR: join(this.home, 'aconf'),
      APPTAINER_KEYSDIR: join(this.home, 'keys'),
    };
    const { code, stdout, stderr } = await apptainer(args, { env, timeout: 120_000 });
    if (code !== 0) throw new Error(`apptainer ${args.join(' ')} ended with ${code}: ${stderr}`);
    return stdout;
  }

  /** Runs a command in an image of the mount. */
  exec(image: string, ...command: string[]): Promise<string> {
    return this.apptainer('exec', join(this.mountpoint, image), ...command);
  }

  async run(command: string, args: string[]): Promise<Outcome> {
    const options = {
      env: this.env,
      cwd: this.home,
      timeout: LIMIT,
      killSignal: 'SIGKILL',
      maxBuffer: 1 << 26,
    } as const;
    try {
      return { code: 0, ...(await promisify(execFile)(command, args, options)) };
    } catch (error) {
      const { code, stdout, stderr } = error as { code?: unknown; stdout: string; stderr: string };
      if (typeof code === 'number') return { code, stdout, stderr };
      throw error;
    }
  }

  /** Runs it and expects success; what it printed. */
  async ok(command: string | Promise<Outcome>): Promise<string> {
    const { code, stdout, stderr } = await (typeof command === 'string' ? this.shell(command) : command);
    if (code !== 0) throw new Error(`ended with ${code}: ${stderr}${stdout}\n${await this.mountLog()}`);
    return stdout;
  }

  /** A command that goes on while the test does. */
  start(script: string): ChildProcess {
    return spawn('bash', ['-c', script], { env: this.env, cwd: this.home, stdio: 'ignore' });
  }

  mount(...args: string[]): Promise<string> {
    return this.ok(this.sregistry('mount', this.mountpoint, ...args));
  }

  unmount(...args: string[]): Promise<string> {
    return this.ok(this.sregistry('unmount', this.mountpoint, ...args));
  }

  async status(): Promise<Status> {
    return JSON.parse(await this.ok(this.sregistry('status', '--json')));
  }

  /** The one mount there is. */
  async mounted(): Promise<MountStatus> {
    const [mount] = (await this.status()).mounts;
    if (mount === undefined) throw new Error(`nothing is mounted\n${await this.mountLog()}`);
    return mount;
  }

  get logPath(): string {
    return logPath(join(this.home, '.local/state/sregistry'), this.mountpoint);
  }

  async mountLog(): Promise<string> {
    return readFile(this.logPath, 'utf8').catch(() => '');
  }

  async end(): Promise<void> {
    await this.sregistry('unmount', this.mountpoint, '--force').catch(() => {});
    if (await isMounted(this.mountpoint)) await this.run('fusermount3', ['-uz', this.mountpoint]);
    await rm(this.home, { recursive: true, force: true, maxRetries: 3 });
  }
}

/** Waits until an expectation holds: commands take their time on a busy machine. */
export function eventually(expectation: () => unknown): Promise<unknown> {
  return vi.waitFor(expectation, { timeout: 30_000, interval: 50 });
}

export const fixture = (name: string) => join(ROOT, 'test/fixtures/images', name);

export async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}
